#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>

#include "core/error.hpp"
#include "core/text.hpp"
#include "study/report.hpp"

namespace selenite {
namespace {

/// Three or four digits that count; "" where there is no figure.
std::string figure(double x) {
  if (!std::isfinite(x)) return "";
  std::array<char, 32> buffer;
  double const size = std::abs(x);
  std::snprintf(buffer.data(), buffer.size(), "%.*f",
                size >= 1000 || x == 0 ? 0
                : size >= 100          ? 1
                : size >= 10           ? 2
                : size >= 1            ? 3
                : size >= 0.01         ? 4
                                       : 6,
                x);
  return buffer.data();
}
std::string percent(double x) {
  if (!std::isfinite(x)) return "";
  std::array<char, 32> buffer;
  std::snprintf(buffer.data(), buffer.size(), "%.1f", 100 * x);
  return buffer.data();
}
std::string signed_percent(double x) {
  std::string const text = percent(x);
  return text.empty() || x < 0 ? text : "+" + text;
}

double memory_gib(MeasuredRun const& run) {
  double sum = 0;
  for (auto const& [name, bytes] : run.memory_bytes) sum += bytes;
  return run.memory_bytes.empty() ? unknown_number : sum / double(1LL << 30);
}

struct Column {
  char const* head;
  std::function<std::string(Config const&, RepeatResult const&, double ranks)> cell;
};

Column whole(char const* head, std::int64_t (*get)(Config const&)) {
  return {head, [get](Config const& c, RepeatResult const&, double) { return std::to_string(get(c)); }};
}

std::vector<Column> const& columns() {
  using R = RepeatResult const&;
  using C = Config const&;
  static std::vector<Column> const all{
      {"params (M)", [](C, R r, double) { return figure(r.run->parameters / 1e6); }},
      whole("heads", [](C c) { return c.model.heads; }),
      whole("hidden", [](C c) { return c.model.hidden; }),
      whole("layers", [](C c) { return c.model.layers; }),
      whole("TP", [](C c) { return c.layout.tensor; }),
      whole("PP", [](C c) { return c.layout.pipe; }),
      {"ranks", [](C, R, double ranks) { return std::to_string(static_cast<std::int64_t>(ranks)); }},
      whole("batch", [](C c) { return c.train.global_batch; }),
      {"TFLOP/s/rank", [](C, R r, double) { return figure(r.figures.hardware_tflops_per_rank); }},
      {"% of peak", [](C, R r, double) { return percent(r.figures.hfu); }},
      {"aggregate TFLOP/s", [](C, R r, double ranks) { return figure(r.figures.hardware_tflops_per_rank * ranks); }},
      whole("b", [](C c) { return c.train.micro_batch; }),
      whole("DP", [](C c) { return c.layout.data; }),
      whole("v", [](C c) { return c.layout.interleave; }),
      whole("seq", [](C c) { return c.model.sequence_length; }),
      whole("V", [](C c) { return c.model.vocab_size; }),
      {"precision", [](C c, R, double) { return get_field(c, "train.precision"); }},
      {"recompute", [](C c, R, double) { return get_field(c, "train.recompute"); }},
      {"iteration (s)", [](C, R r, double) { return figure(r.figures.step_seconds); }},
      {"tokens/s", [](C, R r, double) { return figure(r.figures.tokens_per_second); }},
      {"tokens/s/rank", [](C, R r, double ranks) { return figure(r.figures.tokens_per_second / ranks); }},
      {"MFU %", [](C, R r, double) { return percent(r.figures.mfu); }},
      {"HFU %", [](C, R r, double) { return percent(r.figures.hfu); }},
      {"memory (GiB)", [](C, R r, double) { return figure(memory_gib(*r.run)); }}};
  return all;
}

/// The different values that `get` gives over the measured points, as one text.
template <class Get>
std::string distinct(StudyResult const& result, Get const& get) {
  std::vector<std::string> values;
  for (auto const* p : result.measured()) {
    std::string const value = get(*p);
    if (!value.empty() && std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  }
  return values.empty() ? "not recorded" : join(values, ", ");
}

double cause(Numbers const& numbers, std::string const& name) {
  for (auto const& [key, seconds] : numbers)
    if (key == name) return seconds;
  return unknown_number;
}

}  // namespace

Table main_table(StudyResult const& result) {
  Table t{"Results",
          "TFLOP/s, % of peak and aggregate count executed FLOPs (with recomputation), as the tables of 2021 did; MFU "
          "and HFU are named apart.",
          {"point"},
          {}};
  for (Column const& c : columns()) t.head.push_back(c.head);
  for (auto const* p : result.measured()) {
    std::vector<std::string> row{p->label};
    for (Column const& c : columns())
      row.push_back(c.cell(p->point.config, *p->typical(), static_cast<double>(p->point.ranks)));
    t.rows.push_back(std::move(row));
  }
  return t;
}

Table prediction_table(StudyResult const& result) {
  Table t{"Predicted against measured", "", {"point", "measured (s)", "predicted (s)", "error %"}, {}};
  std::vector<std::string> causes;
  for (auto const* p : result.measured())
    for (auto const& [name, seconds] : p->typical()->run->predicted_time_seconds)
      if (std::find(causes.begin(), causes.end(), name) == causes.end()) causes.push_back(name);
  for (std::string name : causes) {
    std::replace(name.begin(), name.end(), '_', ' ');
    t.head.push_back(name + " (s)");
  }
  double sum = 0, worst = 0;
  for (auto const* p : result.measured()) {
    auto const& r = *p->typical();
    double const error = r.run->predicted_step_seconds / r.figures.step_seconds - 1;
    if (!std::isfinite(error)) continue;
    sum += std::abs(error), worst = std::max(worst, std::abs(error));
    t.rows.push_back(
        {p->label, figure(r.figures.step_seconds), figure(r.run->predicted_step_seconds), signed_percent(error)});
    for (std::string const& name : causes)
      t.rows.back().push_back(
          concat(figure(cause(r.run->predicted_time_seconds, name)), " / ", figure(cause(r.run->time_seconds, name))));
  }
  if (!t.rows.empty())
    t.note = concat("Mean error ", percent(sum / static_cast<double>(t.rows.size())), " %, largest ", percent(worst),
                    " %. By cause: predicted / measured.");
  return t;
}

Table spread_table(StudyResult const& result) {
  Table t{
      "Spread over repeats",
      "Of the repeats' median steps: the figures above are those of the middle one.",
      {"point", "repeats", "least (s)", "middle (s)", "most (s)", "spread %", "steps counted", "within a repeat (s)"},
      {}};
  for (auto const* p : result.measured()) {
    auto const& typical = p->typical()->figures;
    double least = typical.step_seconds, most = typical.step_seconds;
    for (auto const* r : p->finished())
      least = std::min(least, r->figures.step_seconds), most = std::max(most, r->figures.step_seconds);
    t.rows.push_back({p->label, std::to_string(p->finished().size()), figure(least), figure(typical.step_seconds),
                      figure(most), percent(most / least - 1), std::to_string(typical.steps),
                      concat(figure(typical.step_seconds_min), " to ", figure(typical.step_seconds_max))});
  }
  return t;
}

Table failure_table(StudyResult const& result) {
  Table t{"Not measured", "", {"point", "repeat", "state", "reason"}, {}};
  for (PointResult const& p : result.points) {
    if (!p.point.infeasible.empty()) t.rows.push_back({p.label, "", "infeasible", p.point.infeasible});
    for (RepeatResult const& r : p.repeats)
      if (r.record.status != Status::done)
        t.rows.push_back(
            {p.label, std::to_string(r.record.repeat), std::string(name_of(r.record.status)), r.record.reason});
  }
  return t;
}

std::vector<std::pair<std::string, std::string>> conditions(StudyResult const& result) {
  auto const run = [&](std::string MeasuredRun::*field) {
    return distinct(result, [&](PointResult const& p) { return (*p.typical()->run).*field; });
  };
  auto const config = [&](char const* field) {
    return distinct(result, [&](PointResult const& p) { return get_field(p.point.config, field); });
  };
  std::int64_t failed = 0, finished = 0, infeasible = 0;
  for (PointResult const& p : result.points) {
    infeasible += !p.point.infeasible.empty();
    for (RepeatResult const& r : p.repeats)
      finished += r.record.status == Status::done, failed += is_failure(r.record.status);
  }
  std::vector<std::pair<std::string, std::string>> all{
      {"FLOPs convention", run(&MeasuredRun::flops_convention)},
      {"Peak", distinct(result,
                        [](PointResult const& p) {
                          auto const x = figure(p.typical()->run->peak_tflops);
                          return x.empty() ? x : x + " TFLOP/s a rank";
                        })},
      {"Precision", config("train.precision")},
      {"Vocabulary V", config("model.vocab_size")},
      {"Sequence length s", config("model.sequence_length")},
      {"Steps", concat(config("train.steps"), " a repeat, the first ", result.study.drop_steps,
                       " dropped; the median of the others counts")},
      {"Repeats", concat(result.study.repeats, "; ", finished, " finished, ", failed, " failed, ", infeasible,
                         infeasible == 1 ? " point infeasible" : " points infeasible")},
      {"Commit", run(&MeasuredRun::commit)},
      {"Program", distinct(result,
                           [](PointResult const& p) {
                             return concat(p.typical()->run->program, " ", p.typical()->run->version);
                           })},
      {"Machine", distinct(result,
                           [](PointResult const& p) {
                             auto const& r = *p.typical()->run;
                             return r.processor.empty() ? r.host
                                    : r.host.empty()    ? r.processor
                                                        : concat(r.processor, " (", r.host, ")");
                           })},
      {"Base config", result.study.base.empty() ? "defaults" : result.study.base}};
  std::vector<std::string> set;
  for (Setting const& s : result.study.set) set.push_back(concat(s.key, " = ", s.text));
  if (!set.empty()) all.emplace_back("Set for all", join(set, ", "));
  std::vector<std::string> letters;
  for (std::string const& key : varied_keys(result.study)) {
    std::string const letter = short_key(key);
    letters.push_back(letter.empty() || letter == key ? key : concat(letter, " = ", key));
  }
  if (!letters.empty()) all.emplace_back("Varied", join(letters, ", "));
  return all;
}

}  // namespace selenite
