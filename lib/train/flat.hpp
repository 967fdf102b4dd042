#pragma once
#include <cstdint>
#include <vector>

#include "core/param.hpp"

namespace selenite {

/// A run of elements of a flat buffer.
struct Run {
  std::int64_t begin = 0, count = 0;
  bool decay = false;  ///< weight decay applies to it
};

/// Where a list of parameters lies in flat buffers, one element number for weights, gradients, master and moments
/// alike. Buckets are runs of neighbouring layers whose gradients are reduced together; inside a bucket the decayed
/// parameters come first, so that the optimizer needs two launches a bucket. Gaps hold zeros and stay zero.
struct FlatLayout {
  static constexpr std::int64_t alignment = 128;  ///< elements
  std::vector<std::int64_t> offsets;              ///< of each parameter, in the list's order
  std::vector<Run> buckets;
  std::vector<Run> decay_runs;    ///< runs of equal weight decay
  std::vector<Run> partial_runs;  ///< gradients that are partial sums over the tensor ranks
  std::vector<Run> counted_runs;  ///< what counts in the norm: of copies on tensor ranks and stages the first
  std::int64_t elements = 0;
};
/// `bucket_bytes` of fp32 gradients at least fill a bucket.
FlatLayout flat_layout(ParameterList const& parameters, ProcessGrid const& grid, Rank rank, std::int64_t bucket_bytes);

/// Binds each parameter's weight and gradient to its place in the flat tensors (shapes are this rank's).
void bind_parameters(ParameterList const& parameters, FlatLayout const& layout, ProcessGrid const& grid, Rank rank,
                     Tensor const& weights, Tensor const& gradients);

}  // namespace selenite
