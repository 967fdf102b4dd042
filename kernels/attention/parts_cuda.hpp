#pragma once
#include "kernels/attention/attention.hpp"

/// What lies between a library that knows attention on whole, packed chunks in one dtype and operations that merge
/// chunks, add to sums in fp32, or see parts of them. Launches like all kernels'.
namespace selenite {

/// op.delta from op.dout and op.out.
void make_delta(Cuda const& cuda, AttentionBackward const& op);

/// Tokens [first, first + count) of each sample's `length`.
struct TokenPart {
  std::int64_t length = 0, first = 0, count = 0;
};

/// Combines the result over some keys into op.out and op.logsumexp, for op.merge with what is there. `out` [samples *
/// count, heads * head_dim] and `logsumexp` [samples, heads, count] are of part of the queries; the others see none of
/// these keys.
void merge_part(Cuda const& cuda, Attention const& op, TokenPart const& queries, Tensor const& out,
                Tensor const& logsumexp);

/// to = part, or `to` + part if added: rows of part of the tokens; of the others, zeros.
void add_part(Cuda const& cuda, TokenPart const& tokens, Tensor const& part, Tensor const& to, bool added);

/// The statistics (fp32 [rows, length]) of part of the queries, packed: [rows, count].
void gather_part(Cuda const& cuda, TokenPart const& queries, Tensor const& from, Tensor const& to);

}  // namespace selenite
