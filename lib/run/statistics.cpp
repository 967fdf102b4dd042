#include "run/statistics.hpp"

#include <algorithm>
#include <fstream>

#include "core/text.hpp"

namespace selenite {
namespace {
constexpr std::size_t warm_steps = 3;

std::string percent(double x) { return concat(static_cast<double>(static_cast<int>(x * 1000 + 0.5)) / 10, " %"); }
std::string fixed(double x, int digits) {
  char text[48];
  std::snprintf(text, sizeof text, "%.*f", digits, x);
  return text;
}
std::string scientific(double x) {
  char text[48];
  std::snprintf(text, sizeof text, "%.2e", x);
  return text;
}
}  // namespace

Statistics::Statistics(Config const& config, Plan const& plan, Machine const& machine)
    : config_(config),
      plan_(plan),
      peak_(machine.peak(config.train.precision == Precision::fp32 ? DType::fp32 : DType::bf16)) {}

void Statistics::add(std::int64_t step, StepResult const& result, double seconds, double data_seconds,
                     Tally const& tally) {
  if (seconds_.empty()) first_loss_ = result.loss;
  step_ = step, last_ = result;
  seconds_.push_back(seconds);
  data_seconds_ += data_seconds, total_seconds_ += seconds;
  tally_ = tally;
}

std::vector<double> Statistics::steady() const {
  auto const skip = seconds_.size() > warm_steps ? warm_steps : 0;
  return {seconds_.begin() + static_cast<std::ptrdiff_t>(skip), seconds_.end()};
}

double Statistics::median_seconds() const {
  std::vector<double> values = steady();
  if (values.empty()) return 0;
  auto const middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double Statistics::peak_of_all() const { return peak_ * static_cast<double>(make_grid(config_.layout).world()); }
double Statistics::mfu(double seconds) const { return plan_.model_flops / seconds / peak_of_all(); }
double Statistics::hfu(double seconds) const { return plan_.hardware_flops / seconds / peak_of_all(); }

std::string Statistics::line() const {
  double const s = seconds_.back(),
               tokens = static_cast<double>(config_.train.global_batch * config_.model.sequence_length);
  double const ranks = static_cast<double>(make_grid(config_.layout).world());
  return concat("step ", step_, "/", config_.train.steps, "  loss ", fixed(last_.loss, 4), "  grad norm ",
                fixed(last_.grad_norm, 3), "  lr ", scientific(last_.lr), "  ", format_count(tokens / s), " tokens/s  ",
                format_count(plan_.model_flops / s / ranks), "FLOP/s a rank  MFU ", percent(mfu(s)), "  HFU ",
                percent(hfu(s)), "  step ", format_duration(s), " (planned ", format_duration(plan_.step_seconds), ")");
}

std::string Statistics::progress_line() const {
  double const left = median_seconds() * static_cast<double>(config_.train.steps - step_);
  return concat(line(), "  ", format_duration(left), " left");
}

JsonObject Statistics::metrics() const {
  double const s = seconds_.back(),
               tokens = static_cast<double>(config_.train.global_batch * config_.model.sequence_length);
  return {{"step", step_},
          {"samples", step_ * config_.train.global_batch},
          {"loss", last_.loss},
          {"grad_norm", last_.grad_norm},
          {"lr", last_.lr},
          {"step_seconds", s},
          {"planned_seconds", plan_.step_seconds},
          {"tokens_per_second", tokens / s},
          {"mfu", mfu(s)},
          {"hfu", hfu(s)}};
}

JsonObject Statistics::summary() const {
  JsonObject out;
  auto const values = steady();
  if (values.empty()) return out;
  double const s = median_seconds(),
               tokens = static_cast<double>(config_.train.global_batch * config_.model.sequence_length);
  double const ranks = static_cast<double>(make_grid(config_.layout).world()),
               steps = static_cast<double>(seconds_.size());
  out.set("steps", step_)
      .set("step_seconds", s)
      .set("step_seconds_min", *std::min_element(values.begin(), values.end()))
      .set("step_seconds_max", *std::max_element(values.begin(), values.end()));
  out.set("tokens_per_second", tokens / s)
      .set("model_tflops_per_rank", plan_.model_flops / s / ranks / 1e12)
      .set("hardware_tflops_per_rank", plan_.hardware_flops / s / ranks / 1e12);
  out.set("mfu", mfu(s))
      .set("hfu", hfu(s))
      .set("peak_tflops", peak_ / 1e12)
      .set("flops_convention", std::string(flops_convention))
      .set("predicted_step_seconds", plan_.step_seconds);
  out.set("parameters", plan_.parameters).set("loss_first", first_loss_).set("loss_last", last_.loss);
  if (valid_loss_ >= 0) out.set("valid_loss", valid_loss_);
  JsonObject memory, time, predicted;
  for (auto const& [label, bytes] : plan_.footprint.rows()) memory.set(label, bytes);
  double accounted = data_seconds_;
  for (std::size_t i = 0; i < cause_count; ++i) {
    std::string const cause(name(static_cast<Cause>(i)));
    time.set(cause, tally_.seconds[i] / steps), predicted.set(cause, plan_.step.seconds[i]);
    accounted += tally_.seconds[i];
  }
  time.set("data", data_seconds_ / steps).set("other", std::max(0.0, total_seconds_ - accounted) / steps);
  predicted.set("data", 0.0).set("other", 0.0);
  out.set("memory_bytes", memory)
      .set("resident_bytes", resident_bytes())
      .set("time_seconds", time)
      .set("predicted_time_seconds", predicted);
  return out;
}

std::int64_t resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::stoll(line.substr(8)) * 1024;
  return 0;
}

}  // namespace selenite
