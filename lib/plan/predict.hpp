#pragma once
#include <string>
#include <utility>
#include <vector>

#include "plan/plan.hpp"

namespace selenite {

/// What a step of a training is expected to take on a machine, and what takes it.
struct Prediction {
  Plan plan;
  double iteration_seconds = 0, tokens_per_second = 0;
  double model_tflops_per_gpu = 0, hardware_tflops_per_gpu = 0;  ///< see flops_convention
  double mfu = 0, hfu = 0;                                       ///< fractions of the peak
  double peak = 0;                                               ///< FLOP/s of a rank, of the training's precision
  Footprint memory;                                              ///< of the fullest rank
  std::int64_t memory_limit = 0;                                 ///< what a rank of the machine may use; 0: unknown
  bool fits = true;                                              ///< true where the limit is unknown
  std::size_t stage = 0;                                         ///< the pipeline stage that has most to compute
  /// Seconds of the step of that stage by what they go to: "gemm", "attention", "memory_bound", "recompute",
  /// "optimizer", "bubble" and "communication_<axis>" for each axis. Their sum is iteration_seconds. What goes beside
  /// work is not there; what is made again is recompute, whatever its kind; a group of several axes counts as the last
  /// of them that has more than one rank.
  std::vector<std::pair<std::string, double>> exposed;
};
/// Of a resolved config. Throws Error if its schedule deadlocks, or if the machine lacks figures of its links.
Prediction predict(Config const& config, Machine const& machine);

/// The prediction as a table for people.
std::string describe(Prediction const& prediction, Config const& config, Machine const& machine);

}  // namespace selenite
