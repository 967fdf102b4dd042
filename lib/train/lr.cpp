#include "train/lr.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/batch_ramp.hpp"

namespace selenite {

double learning_rate(TrainConfig const& t, std::int64_t consumed) {
  auto const at = static_cast<double>(consumed + BatchRamp(t).batch(consumed)), warmup = static_cast<double>(t.warmup),
             end = static_cast<double>(t.lr_decay);
  if (t.warmup > 0 && at <= warmup) return t.lr * at / warmup;
  if (t.lr_schedule == LrSchedule::constant) return t.lr;
  if (t.lr_schedule == LrSchedule::inverse_sqrt)
    return std::max(t.min_lr, t.lr * std::sqrt(std::max(warmup, 1.0)) / std::sqrt(at));
  if (at >= end) return t.min_lr;
  double const progress = (at - warmup) / std::max(end - warmup, 1.0);
  double const share =
      t.lr_schedule == LrSchedule::linear ? 1 - progress : 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return t.min_lr + share * (t.lr - t.min_lr);
}

double weight_decay(TrainConfig const& t, std::int64_t consumed) {
  if (t.weight_decay_schedule == DecaySchedule::constant) return t.weight_decay;
  double const progress = std::min(1.0, static_cast<double>(consumed + BatchRamp(t).batch(consumed)) /
                                            static_cast<double>(std::max<std::int64_t>(t.samples, 1)));
  double const share =
      t.weight_decay_schedule == DecaySchedule::linear ? progress : 0.5 * (1 - std::cos(std::numbers::pi * progress));
  return t.weight_decay + share * (t.weight_decay_end - t.weight_decay);
}

}  // namespace selenite
