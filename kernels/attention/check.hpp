#pragma once
#include "kernels/attention/attention.hpp"

namespace selenite {

/// Throws Error where the tensors do not fit the shape or each other.
void check(Attention const& op);
void check(AttentionBackward const& op);

/// (query, key) pairs a head that are seen if there is one document a sample: all, or the causal half. Chunks with
/// positions of their own are counted like whole samples; of a zig-zag ring's pairs of chunks none has more.
double visible_pairs(AttentionShape const& shape);

/// Into how many tasks the backward pass of one (sample, kv head) is cut, each with its own sums for dk and dv: so many
/// that many cores have work, and fit into `bytes`; one at least. From sizes alone: the order of sums never depends on
/// threads.
std::int64_t backward_splits(AttentionShape const& shape, std::int64_t bytes);
/// The sums of one split.
std::int64_t backward_split_bytes(AttentionShape const& shape);
/// head_dim up to whole vectors of any CPU.
constexpr std::int64_t padded_head_dim(AttentionShape const& shape) { return (shape.head_dim + 15) / 16 * 16; }

}  // namespace selenite
