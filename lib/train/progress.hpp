#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "core/config.hpp"

namespace selenite {

/// What the loss is multiplied by, so that fp16 gradients do not vanish (Micikevicius et al. 2018). Dynamic with fp16
/// unless train.loss_scale sets it: it starts at train.loss_scale_initial, is doubled after train.loss_scale_window
/// steps in a row without overflow, and is halved when a step's gradients overflow: at once after the
/// train.loss_scale_hysteresis-th such step since it last grew. It never falls below 1.
struct LossScale {
  double scale = 1;
  std::int64_t finite_steps = 0;  ///< in a row
  std::int64_t tolerance = 0;     ///< overflows until the scale falls
  bool operator==(LossScale const&) const = default;

  static LossScale initial(TrainConfig const& train);
  static bool dynamic(TrainConfig const& train) { return train.loss_scale == 0; }
  void see(TrainConfig const& train, bool overflow);
};

/// Where a training stands between two steps: with weights and moments all that the next step depends on.
struct Progress {
  std::int64_t step = 0, consumed = 0;  ///< steps done and samples taken, those of skipped steps included
  /// Of steps whose gradients overflowed: neither AdamW's count nor the learning rate has advanced.
  std::int64_t skipped_steps = 0, skipped_samples = 0;
  LossScale loss_scale;
  bool operator==(Progress const&) const = default;

  static Progress initial(TrainConfig const& train) { return {.loss_scale = LossScale::initial(train)}; }
  /// What a checkpoint holds of it beside step and samples, and back; what it does not know is as at the start.
  std::map<std::string, std::string> notes() const;
  void read_notes(std::map<std::string, std::string> const& notes);
};

}  // namespace selenite
