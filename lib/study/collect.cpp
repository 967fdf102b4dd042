#include "study/collect.hpp"

#include <algorithm>
#include <array>

#include "core/error.hpp"
#include "study/driver.hpp"

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

std::string label_of(Point const& point) {
  std::string label;
  for (Setting const& s : point.varied) {
    std::string const key = short_key(s.key);
    label += concat(label.empty() ? "" : " ", key, key.empty() ? "" : "=", s.text);
  }
  return label.empty() ? point.name : label;
}

}  // namespace

std::string short_key(std::string const& key) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 19> known{{{"ranks", "n"},
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

Figures figures_of(MeasuredRun const& run, std::vector<StepMetrics> const& steps, std::int64_t drop,
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

StudyResult collect(Study const& study, std::string const& folder) {
  StudyResult result{study, folder, {}};
  for (Point& point : expand(study)) {
    std::string const label = label_of(point);
    result.points.push_back({std::move(point), label, {}});
  }
  for (PointResult& p : result.points)
    for (std::int64_t repeat = 1; repeat <= study.repeats && p.point.infeasible.empty(); ++repeat)
      p.repeats.push_back(read_repeat(study, p.point, repeat_folder(folder, p.point, repeat), repeat));
  return result;
}

}  // namespace selenite
