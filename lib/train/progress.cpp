#include "train/progress.hpp"

#include <algorithm>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {

LossScale LossScale::initial(TrainConfig const& t) {
  return {.scale = dynamic(t) ? t.loss_scale_initial : t.loss_scale, .tolerance = t.loss_scale_hysteresis};
}

void LossScale::see(TrainConfig const& t, bool overflow) {
  if (!dynamic(t)) return;
  if (overflow) {
    finite_steps = 0;
    tolerance = std::max<std::int64_t>(0, tolerance - 1);
    if (tolerance == 0) scale = std::max(1.0, scale / 2);
  } else if (++finite_steps == t.loss_scale_window) {
    finite_steps = 0, tolerance = t.loss_scale_hysteresis, scale *= 2;
  }
}

std::map<std::string, std::string> Progress::notes() const {
  return {{"skipped_steps", concat(skipped_steps)},
          {"skipped_samples", concat(skipped_samples)},
          {"loss_scale", format_double(loss_scale.scale)},
          {"loss_scale_finite_steps", concat(loss_scale.finite_steps)},
          {"loss_scale_tolerance", concat(loss_scale.tolerance)}};
}

void Progress::read_notes(std::map<std::string, std::string> const& notes) {
  auto read = [&](char const* key, std::int64_t& value) {
    if (auto const note = notes.find(key); note != notes.end()) value = parse_integer(note->second, key);
  };
  read("skipped_steps", skipped_steps), read("skipped_samples", skipped_samples);
  read("loss_scale_finite_steps", loss_scale.finite_steps), read("loss_scale_tolerance", loss_scale.tolerance);
  if (auto const note = notes.find("loss_scale"); note != notes.end())
    loss_scale.scale = parse_double(note->second, "loss_scale");
}

}  // namespace selenite
