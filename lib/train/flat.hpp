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
/// The same of elements that this rank's optimizer updates.
struct OwnedRun {
  std::int64_t begin = 0;  ///< in buffers of all elements
  std::int64_t at = 0;     ///< in buffers of owned elements alone
  std::int64_t count = 0;
  bool decay = false;
};

/// A run of elements whose gradients are reduced together: whole parameters, neighbours in the order of use.
struct Bucket {
  std::int64_t begin = 0, count = 0;  ///< elements
  std::size_t first = 0, last = 0;    ///< parameters [first, last)
  bool tied = false;                  ///< holds the tied parameter, and nothing else
};

/// Where a list of parameters lies in flat buffers, one element number for weights, gradients, master and moments
/// alike. Inside a bucket the decayed parameters come first, so that the optimizer needs two launches a bucket. Gaps
/// hold zeros and stay zero. With a sharded optimizer (Rajbhandari et al. 2020) each bucket is cut into equal parts,
/// one for each of the ranks that hold the same parameters.
struct FlatLayout {
  static constexpr std::int64_t alignment = 128;  ///< elements
  std::vector<std::int64_t> offsets;              ///< of each parameter, in the list's order
  std::vector<std::int64_t> counts;               ///< elements of each parameter on this rank
  std::vector<Bucket> buckets;
  std::vector<Run> decay_runs;    ///< runs of equal weight decay
  std::vector<Run> partial_runs;  ///< gradients that are partial sums over the tensor ranks
  std::vector<Run> counted_runs;  ///< what counts in the norm: of copies on tensor ranks and stages the first
  std::int64_t elements = 0;
  std::int64_t shards = 1, shard = 0;  ///< parts of each bucket, and which of them is this rank's

  std::int64_t owned_elements() const { return elements / shards; }
  /// The part of a bucket that shard `i` is.
  Run shard_of(Bucket const& bucket, std::int64_t i) const {
    return {bucket.begin + i * (bucket.count / shards), bucket.count / shards, false};
  }
  Run parameter(std::size_t i) const { return {offsets[i], counts[i], false}; }
  /// What of these runs (ascending) this rank owns.
  std::vector<OwnedRun> owned(std::vector<Run> const& runs) const;
};

/// How flat buffers are laid out.
struct FlatRequest {
  ProcessGrid grid;
  Rank rank;
  std::vector<std::size_t> may_end;     ///< parameters before which a bucket may end: where a layer does
  std::vector<std::size_t> chunk_ends;  ///< parameters before which a bucket must end
  std::int64_t bucket_bytes = 0;        ///< of fp32 gradients at least fill a bucket
  bool sharded = false;                 ///< over the ranks that hold the same parameters
};
FlatLayout flat_layout(ParameterList const& parameters, FlatRequest const& request);

/// A run of a flat tensor, as a tensor of one dimension; undefined if `flat` is.
Tensor run_of(Tensor const& flat, std::int64_t begin, std::int64_t count);
inline Tensor run_of(Tensor const& flat, Run const& run) { return run_of(flat, run.begin, run.count); }

}  // namespace selenite
