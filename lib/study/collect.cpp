#include "study/collect.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "core/error.hpp"
#include "study/driver.hpp"
#include "study/expression.hpp"
#include "study/predict.hpp"

namespace selenite {
namespace {

RepeatResult read_repeat(Study const& study, Point const& point, std::string const& folder, std::int64_t repeat) {
  RepeatResult result;
  result.record = state_of(folder);
  result.record.repeat = repeat;
  if (result.record.status != Status::done) return result;
  auto const& c = point.config;
  try {
    result.run = read_run(folder + "/run.json");
    result.steps = read_metrics(folder + "/metrics.jsonl");
    result.figures = figures_of(*result.run, result.steps, study.drop_steps,
                                static_cast<double>(c.train.global_batch * c.model.sequence_length));
  } catch (Error const& e) {
    result.record.status = Status::failed;
    result.record.reason = e.what();
  }
  return result;
}

/// A prediction that can't be read is none: `run --predict` makes it again.
std::optional<RepeatResult> read_prediction(std::string const& file) {
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return std::nullopt;
  try {
    RepeatResult result;
    result.run = read_run(file);
    RunResult const& run = *result.run;
    result.figures = {1,
                      run.step_seconds,
                      run.step_seconds,
                      run.step_seconds,
                      run.tokens_per_second,
                      run.model_tflops_per_rank,
                      run.hardware_tflops_per_rank,
                      run.mfu,
                      run.hfu,
                      run.time_seconds};
    if (run.result == "predicted" && run.step_seconds > 0) return result;
  } catch (Error const&) {
  }
  return std::nullopt;
}

/// Mean seconds by cause over the steps after the first `drop`; of a run that tells no step's causes, its own.
Numbers causes_of(RunResult const& run, std::vector<StepMetrics> const& steps, std::int64_t drop) {
  Numbers mean;
  double counted = 0, seconds = 0, data = 0, timed = 0;
  std::int64_t known = drop;
  for (StepMetrics const& step : steps) {
    if (step.step > drop && step.step_seconds > 0)
      counted += 1, seconds += step.step_seconds, data += step.data_seconds;
    if (step.time_seconds.empty() || step.timed_step <= known) continue;  // told again until the next is known
    known = step.timed_step, timed += 1;
    for (auto const& [cause, x] : step.time_seconds) {
      auto at = std::ranges::find(mean, cause, &Numbers::value_type::first);
      if (at == mean.end()) at = mean.insert(mean.end(), {cause, 0.0});
      at->second += x;
    }
  }
  if (timed == 0) return run.time_seconds;
  double rest = (seconds - data) / counted;
  for (auto& [cause, x] : mean) x /= timed, rest -= x;
  mean.emplace_back("data", data / counted), mean.emplace_back("other", std::max(0.0, rest));
  return mean;
}

/// Whether the first key of an axis tells its rows apart.
bool first_key_tells(StudyAxis const& axis) {
  std::set<std::string> values;
  for (auto const& row : axis.rows) values.insert(row.front());
  return values.size() == axis.rows.size();
}

}  // namespace

std::string short_key(std::string const& key) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 21> known{{{"ranks", "n"},
                                                                                        {"machine.name", ""},
                                                                                        {"train.recompute", ""},
                                                                                        {"train.micro_batch", "b"},
                                                                                        {"train.global_batch", "B"},
                                                                                        {"model.sequence_length", "s"},
                                                                                        {"model.vocab_size", "V"},
                                                                                        {"model.layers", "l"},
                                                                                        {"model.hidden", "h"},
                                                                                        {"model.heads", "a"},
                                                                                        {"layout.tensor", "t"},
                                                                                        {"layout.pipe", "p"},
                                                                                        {"layout.data", "d"},
                                                                                        {"layout.context", "c"},
                                                                                        {"layout.expert", "e"},
                                                                                        {"layout.interleave", "v"},
                                                                                        {"model.preset", ""},
                                                                                        {"model.attention", ""},
                                                                                        {"model.activation", ""},
                                                                                        {"model.norm", ""},
                                                                                        {"train.precision", ""}}};
  for (auto const& [name, letter] : known)
    if (name == key) return std::string(letter);
  return key.substr(key.rfind('.') + 1);
}

std::string label_without(Study const& study, Point const& point, std::vector<std::string> const& left_out) {
  std::string label;
  for (StudyAxis const& axis : study.axes) {
    std::size_t const named = first_key_tells(axis) ? 1 : axis.keys.size();
    for (std::size_t k = 0; k < named; ++k) {
      if (std::ranges::find(left_out, axis.keys[k]) != left_out.end()) continue;
      auto const setting = std::ranges::find(point.varied, axis.keys[k], &Setting::key);
      std::string const key = short_key(axis.keys[k]);
      label += concat(label.empty() ? "" : " ", key, key.empty() ? "" : "=", setting->text);
    }
  }
  return label;
}

std::vector<std::string> keys_beside(Study const& study, std::string const& key) {
  for (StudyAxis const& axis : study.axes)
    if (std::ranges::find(axis.keys, key) != axis.keys.end()) return axis.keys;
  return {key};
}

std::vector<std::string> keys_of_ranks(Study const& study) {
  std::vector<std::string> named{"ranks"}, keys;
  for (Setting const& s : study.set)
    if (s.key == "ranks" && is_computed(s)) named = Expression(s.text).names();
  for (std::string const& name : named)
    for (std::string const& key : keys_beside(study, name)) keys.push_back(key);
  return keys;
}

Figures figures_of(RunResult const& run, std::vector<StepMetrics> const& steps, std::int64_t drop,
                   double tokens_per_step) {
  std::vector<double> seconds;
  for (StepMetrics const& step : steps)
    if (step.step > drop && step.step_seconds > 0) seconds.push_back(step.step_seconds);
  validate(!seconds.empty(), "The metrics of the run are corrupt (no step after the first ", drop,
           " has a time). Run the point again with --retry, or drop fewer steps.");
  std::sort(seconds.begin(), seconds.end());
  std::size_t const n = seconds.size();
  Figures f;
  f.steps = static_cast<std::int64_t>(n);
  f.step_seconds = n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
  f.step_seconds_min = seconds.front(), f.step_seconds_max = seconds.back();
  f.tokens_per_second = tokens_per_step / f.step_seconds;
  // the record's rates belong to the record's own step time
  double const scale = run.step_seconds / f.step_seconds;
  f.model_tflops_per_rank = run.model_tflops_per_rank * scale,
  f.hardware_tflops_per_rank = run.hardware_tflops_per_rank * scale;
  f.mfu = run.mfu * scale, f.hfu = run.hfu * scale;
  f.time_seconds = causes_of(run, steps, drop);
  return f;
}

std::vector<RepeatResult const*> PointResult::finished() const {
  std::vector<RepeatResult const*> done;
  for (RepeatResult const& r : repeats)
    if (r.record.status == Status::done) done.push_back(&r);
  return done;
}

RepeatResult const* PointResult::typical() const {
  auto done = finished();
  if (done.empty()) return nullptr;
  std::stable_sort(done.begin(), done.end(),
                   [](auto const* a, auto const* b) { return a->figures.step_seconds < b->figures.step_seconds; });
  return done[(done.size() - 1) / 2];
}

std::vector<PointResult const*> StudyResult::measured() const {
  std::vector<PointResult const*> out;
  for (PointResult const& p : points)
    if (p.typical()) out.push_back(&p);
  return out;
}

std::vector<Shown> StudyResult::shown() const {
  std::vector<Shown> out;
  for (PointResult const& p : points)
    if (auto const* typical = p.typical()) out.push_back({&p, typical, false});
  for (PointResult const& p : points)
    if (p.predicted && p.predicted->run->does_not_fit.empty()) out.push_back({&p, &*p.predicted, true});
  return out;
}

StudyResult collect(Study const& study, std::string const& folder) {
  StudyResult result{study, folder, {}};
  for (Point& point : expand(study)) {
    std::string label = label_without(study, point, {});
    if (label.empty()) label = point.name;
    result.points.push_back({std::move(point), label, {}, {}});
  }
  for (PointResult& p : result.points)
    if (p.point.infeasible.empty()) p.predicted = read_prediction(prediction_file(folder, p.point));
  for (PointResult& p : result.points)
    for (std::int64_t repeat = 1; repeat <= study.repeats && p.point.infeasible.empty(); ++repeat)
      p.repeats.push_back(read_repeat(study, p.point, repeat_folder(folder, p.point, repeat), repeat));
  return result;
}

}  // namespace selenite
