#pragma once
#include <cstdint>
#include <vector>

#include "core/config.hpp"

namespace selenite {

/// Which global batch a step takes, by the samples taken before it: train.batch_ramp, or train.global_batch throughout.
class BatchRamp {
 public:
  /// Throws Error if the ramp's text makes no sense.
  explicit BatchRamp(TrainConfig const& train);
  /// Of the step that comes after `consumed` samples.
  std::int64_t batch(std::int64_t consumed) const;
  /// Of every part of the ramp, in order.
  std::vector<std::int64_t> batches() const;
  /// Samples of the first `steps` steps.
  std::int64_t samples(std::int64_t steps) const;
  /// The smallest number of steps that takes so many samples.
  std::int64_t steps(std::int64_t samples) const;

 private:
  struct Part {
    std::int64_t from = 0, batch = 0;  ///< samples before the first step of this batch, at least
  };
  /// Walks the parts: calls visit(consumed, batch, steps) with the steps that each has; the last has no end (-1).
  template <class Visit>
  void walk(Visit&& visit) const;

  std::vector<Part> parts_;
};

}  // namespace selenite
