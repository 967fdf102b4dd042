#pragma once
#include <array>

#include "core/attention_library.hpp"
#include "core/kernel.hpp"
#include "core/rng.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// What attention needs to know besides q, k and v. Tokens are sample-major: token = sample * length + index.
/// A query at global position P sees keys at positions <= P (causal) or all, and of those only the ones that belong to
/// its document: key position >= the query's document start (and, bidirectional: the key's document start equals the
/// query's).
struct AttentionShape {
  std::int64_t samples = 1;            ///< in this micro-batch
  std::int64_t queries = 0, keys = 0;  ///< length a sample of the query and of the key chunk
  std::int64_t heads = 0,
               kv_heads = 0;  ///< of this rank; heads % kv_heads == 0; query head h reads kv head h / (heads/kv_heads)
  std::int64_t head_dim = 0;
  bool causal = true;
  double scale = 0;             ///< of the scores; usually 1/sqrt(head_dim)
  DropoutSite dropout;          ///< on the probabilities; masks by (sample, head, query position, key position)
  std::int64_t first_head = 0;  ///< global number of this rank's head 0, for the masks
  AttentionLibrary library = AttentionLibrary::own;  ///< on a CUDA device
  bool deterministic = true;                         ///< the same bits every time
};

/// What the host knows of positions without reading them: the tokens of a sample are `count` runs of equal length, each
/// of consecutive positions from its first on. A library takes no mask by position: it needs to know this.
struct PositionRuns {
  int count = 0;  ///< 0: nothing is known
  std::array<std::int64_t, 2> first{};
};

/// Global facts of the tokens of a query or key chunk. All [samples, length], int32; undefined means: position = index
/// (plus 0), one document a sample.
struct AttentionPlaces {
  Tensor positions;        ///< sequence position of the token in its sample (context chunks are not contiguous)
  Tensor document_starts;  ///< position at which the token's document starts
  PositionRuns runs;       ///< of `positions`
};

/// out = softmax(scale * q k^T + mask) v, head by head, without an s x s matrix in memory (online softmax, blocks of
/// queries and keys; Dao et al. 2022). logsumexp[head-major] = log sum exp of the scaled, masked scores. If `merge`,
/// (out, logsumexp) already hold the result over other keys and the two are combined, as ring attention needs; out is
/// then fp32. Rows that see no key give 0 and logsumexp -inf.
struct Attention {
  AttentionShape shape;
  Tensor q, k,
      v;  ///< [samples*queries, heads*head_dim], [samples*keys, kv_heads*head_dim]; may be columns of a wider matrix
  Tensor out;        ///< [samples*queries, heads*head_dim], dtype of q; fp32 when merging
  Tensor logsumexp;  ///< fp32 [samples, heads, queries]
  AttentionPlaces query_places, key_places;
  Tensor sample_ids;  ///< int64 [samples]: global sample numbers, for dropout only
  bool merge = false;
};
void reference(Attention const& op);
void launch(Cpu& cpu, Attention const& op);
void launch(Cuda& cuda, Attention const& op);
void prepare(Cuda& cuda, Attention const& op);
Cost cost(Attention const& op);
std::int64_t workspace(Attention const& op, std::int64_t budget);
static_assert(Kernel<Attention>);

/// dq, dk, dv from dout, recomputing the probabilities from q, k and the *final* logsumexp. `delta` = row sums of dout
/// * out (fp32 [samples, heads, queries]) is made here when `out` is defined and read otherwise; cuDNN always makes it.
/// accumulate: add to dq, dk, dv (fp32 then), else overwrite.
struct AttentionBackward {
  AttentionShape shape;
  Tensor q, k, v, out, dout;
  Tensor logsumexp, delta;  ///< fp32 [samples, heads, queries]
  Tensor dq, dk, dv;        ///< like q, k, v; may be columns of a wider matrix
  AttentionPlaces query_places, key_places;
  Tensor sample_ids;
  bool accumulate = false;
};
void reference(AttentionBackward const& op);
void launch(Cpu& cpu, AttentionBackward const& op);
void launch(Cuda& cuda, AttentionBackward const& op);
void prepare(Cuda& cuda, AttentionBackward const& op);
Cost cost(AttentionBackward const& op);
std::int64_t workspace(AttentionBackward const& op, std::int64_t budget);
static_assert(Kernel<AttentionBackward>);

}  // namespace selenite
