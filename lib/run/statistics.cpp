#include "run/statistics.hpp"

#include <algorithm>
#include <fstream>
#include <numeric>

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

void Statistics::add(Progress const& after, std::int64_t batch, StepResult const& result, double seconds,
                     double data_seconds) {
  if (steps_.empty()) first_loss_ = result.loss;
  if (steps_.empty() || steps_.size() == warm_steps || batch != steps_.back().batch) sums_ = {.first = after.step};
  at_ = after, last_ = result, data_seconds_ = data_seconds;
  steps_.push_back({seconds, batch});
  sums_.steps += 1, sums_.seconds += seconds, sums_.data_seconds += data_seconds;
}

void Statistics::add_times(std::int64_t step, CauseSeconds const& seconds) {
  last_timed_ = {step, seconds};
  if (step < sums_.first) return;
  for (std::size_t i = 0; i < cause_count; ++i) sums_.causes[i] += seconds[i];
  sums_.timed += 1;
}

std::vector<double> Statistics::steady() const {
  std::vector<double> seconds;
  for (std::size_t i = steps_.size() > warm_steps ? warm_steps : 0; i < steps_.size(); ++i)
    if (steps_[i].batch == steps_.back().batch) seconds.push_back(steps_[i].seconds);
  return seconds;
}

double Statistics::median_seconds() const {
  std::vector<double> values = steady();
  if (values.empty()) return 0;
  auto const middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double Statistics::peak_of_all() const { return peak_ * static_cast<double>(make_grid(config_.layout).world()); }
double Statistics::mfu(double seconds) const { return share() * plan_.model_flops / seconds / peak_of_all(); }
double Statistics::hfu(double seconds) const { return share() * plan_.hardware_flops / seconds / peak_of_all(); }

std::string Statistics::line() const {
  double const s = steps_.back().seconds, ranks = static_cast<double>(make_grid(config_.layout).world());
  std::string const scale =
      config_.train.precision == Precision::fp16 ? concat("  loss scale ", format_double(last_.loss_scale)) : "";
  return concat("step ", at_.step, "/", config_.train.steps, "  loss ", fixed(last_.loss, 4), "  grad norm ",
                last_.skipped ? "overflowed: step skipped" : fixed(last_.grad_norm, 3), scale, "  lr ",
                scientific(last_.lr), "  ", format_count(tokens() / s), " tokens/s  ",
                format_count(share() * plan_.model_flops / s / ranks), "FLOP/s a rank  MFU ", percent(mfu(s)), "  HFU ",
                percent(hfu(s)), "  step ", format_duration(s), " (planned ",
                format_duration(share() * plan_.step_seconds), ")", causes());
}

/// "  gemm 61 %  attention 12 %": of what the causes of the last timed step took together.
std::string Statistics::causes() const {
  CauseSeconds const times = last_timed_ ? last_timed_->seconds : CauseSeconds{};
  double const sum = std::accumulate(times.begin(), times.end(), 0.0);
  std::string text;
  for (std::size_t i = 0; i < cause_count && sum > 0; ++i)
    if (double const part = times[i] / sum; part >= 0.005)
      text += concat("  ", name(static_cast<Cause>(i)), " ", fixed(100 * part, 0), " %");
  return text;
}

std::string Statistics::progress_line() const {
  double const left = median_seconds() * static_cast<double>(config_.train.steps - at_.step);
  return concat(line(), "  ", format_duration(left), " left");
}

JsonObject Statistics::metrics() const {
  double const s = steps_.back().seconds;
  JsonObject out{{"step", at_.step},
                 {"samples", at_.consumed},
                 {"loss", last_.loss},
                 {"grad_norm", last_.grad_norm},
                 {"lr", last_.lr},
                 {"step_seconds", s},
                 {"data_seconds", data_seconds_},
                 {"planned_seconds", share() * plan_.step_seconds},
                 {"tokens_per_second", tokens() / s},
                 {"mfu", mfu(s)},
                 {"hfu", hfu(s)}};
  if (last_timed_) {
    JsonObject time;
    for (std::size_t i = 0; i < cause_count; ++i)
      time.set(std::string(name(static_cast<Cause>(i))), last_timed_->seconds[i]);
    out.set("timed_step", last_timed_->step).set("time_seconds", time);
  }
  if (config_.train.precision == Precision::fp16)
    out.set("loss_scale", last_.loss_scale).set("skipped_steps", at_.skipped_steps);
  return out;
}

JsonObject Statistics::summary() const {
  JsonObject out;
  auto const values = steady();
  if (values.empty()) return out;
  double const s = median_seconds();
  double const ranks = static_cast<double>(make_grid(config_.layout).world());
  out.set("steps", at_.step)
      .set("step_seconds", s)
      .set("step_seconds_min", *std::min_element(values.begin(), values.end()))
      .set("step_seconds_max", *std::max_element(values.begin(), values.end()));
  out.set("tokens_per_second", tokens() / s)
      .set("model_tflops_per_rank", share() * plan_.model_flops / s / ranks / 1e12)
      .set("hardware_tflops_per_rank", share() * plan_.hardware_flops / s / ranks / 1e12);
  out.set("mfu", mfu(s))
      .set("hfu", hfu(s))
      .set("peak_tflops", peak_ / 1e12)
      .set("flops_convention", std::string(flops_convention))
      .set("predicted_step_seconds", share() * plan_.step_seconds);
  out.set("parameters", plan_.parameters).set("loss_first", first_loss_).set("loss_last", last_.loss);
  if (valid_loss_ >= 0) out.set("valid_loss", valid_loss_);
  JsonObject memory, time, predicted;
  for (auto const& [label, bytes] : plan_.stages[plan_.fullest()].footprint.rows()) memory.set(label, bytes);
  double const data = sums_.data_seconds / sums_.steps;
  double accounted = data;
  for (std::size_t i = 0; i < cause_count; ++i) {
    std::string const cause(name(static_cast<Cause>(i)));
    double const mean = sums_.timed > 0 ? sums_.causes[i] / sums_.timed : 0;
    time.set(cause, mean), predicted.set(cause, plan_.step.seconds[i]);
    accounted += mean;
  }
  time.set("data", data).set("other", std::max(0.0, sums_.seconds / sums_.steps - accounted));
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
