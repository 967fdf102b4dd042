#pragma once
#include <array>

#include "core/grid.hpp"
#include "exec/lanes.hpp"

namespace selenite {

/// Where the time of a priced compute lane goes, in seconds; the sum is the time that has passed on it. Work that is
/// made again for the backward pass is `recompute`, whatever its kind. Communication is what the lane does itself or
/// waits for, by the axes of the group; what goes beside work is not here. Messages between stages are over {pipe}.
struct Exposed {
  double gemm = 0, attention = 0, memory_bound = 0, recompute = 0, optimizer = 0;
  std::array<double, 1u << axis_count> communication{};  ///< by AxisSet::bits

  double& of(Cause cause, AxisSet group, bool again);
  double compute() const { return gemm + attention + memory_bound + recompute + optimizer; }
  double total() const;
  /// Adds another, `times` over.
  void add(Exposed const& other, double times = 1);
};

}  // namespace selenite
