#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <tuple>

#include "core/error.hpp"
#include "core/text.hpp"
#include "study/report.hpp"

namespace selenite {

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

namespace {

double memory_gib(RunResult const& run) {
  double sum = 0;
  for (auto const& [name, bytes] : run.memory_bytes) sum += bytes;
  return run.memory_bytes.empty() ? unknown_number : sum / double(1LL << 30);
}

/// A column: what it says of one row, and whether it is left out where all rows say the same.
struct Column {
  std::string head;
  std::function<std::string(Shown const&)> cell;
  std::string dull;  ///< left out if every cell is this or empty
};

Column whole(char const* head, std::int64_t (*get)(Config const&), std::string dull = "") {
  return {head, [get](Shown const& s) { return std::to_string(get(s.point->point.config)); }, std::move(dull)};
}
Column field(char const* head, char const* key, std::string dull = "") {
  return {head, [key](Shown const& s) { return get_field(s.point->point.config, key); }, std::move(dull)};
}
Column number(std::string head, double (*get)(Shown const&)) {
  return {std::move(head), [get](Shown const& s) { return figure(get(s)); }, ""};
}
Column share(char const* head, double Figures::*value) {
  return {head, [value](Shown const& s) { return percent(s.figures->figures.*value); }, ""};
}

double aggregate(Shown const& s) { return s.figures->figures.hardware_tflops_per_rank * ranks_of(s); }

/// A rank's model FLOP/s against those of the smallest job that differs in nothing but the ranks and what goes with
/// them: weak and strong efficiency alike.
Column efficiency(Study const& study, std::vector<Shown> const& shown) {
  auto const series = [&study, along = keys_of_ranks(study)](Shown const& s) {
    return std::tuple(s.is_predicted, get_field(s.point->point.config, "machine.name"),
                      label_without(study, s.point->point, along));
  };
  auto const smallest = [shown, series](Shown const& like) {
    Shown const* least = nullptr;
    for (Shown const& s : shown)
      if (series(s) == series(like) && (!least || ranks_of(s) < ranks_of(*least))) least = &s;
    return least;
  };
  auto const rate = [](Shown const& s) { return s.figures->figures.model_tflops_per_rank; };
  return {"efficiency %",
          [=](Shown const& s) {
            auto const* base = smallest(s);
            return base ? percent(rate(s) / rate(*base)) : "";
          },
          "100.0"};
}

/// Those of the weak-scaling table of SC21 in its order, then what today's readers expect.
std::vector<Column> columns(StudyResult const& result) {
  using C = Config const&;
  auto const shown = result.shown();
  bool const billions = std::ranges::any_of(shown, [](auto const& s) { return s.figures->run->parameters >= 1e9; });
  bool const peta = std::ranges::any_of(shown, [](auto const& s) { return aggregate(s) >= 1000; });
  std::vector<Column> all{
      billions ? number("params (B)", [](Shown const& s) { return s.figures->run->parameters / 1e9; })
               : number("params (M)", [](Shown const& s) { return s.figures->run->parameters / 1e6; }),
      whole("heads", [](C c) { return c.model.heads; }),
      whole("hidden", [](C c) { return c.model.hidden; }),
      whole("layers", [](C c) { return c.model.layers; }),
      whole("TP", [](C c) { return c.layout.tensor; }),
      whole("PP", [](C c) { return c.layout.pipe; }),
      {"ranks", [](Shown const& s) { return std::to_string(s.point->point.ranks); }, ""},
      whole("batch", [](C c) { return c.train.global_batch; }),
      number("TFLOP/s/rank", [](Shown const& s) { return s.figures->figures.hardware_tflops_per_rank; }),
      share("% of peak", &Figures::hfu),
      peta ? number("aggregate PFLOP/s", [](Shown const& s) { return aggregate(s) / 1000; })
           : number("aggregate TFLOP/s", aggregate),
      whole("b", [](C c) { return c.train.micro_batch; }),
      whole("DP", [](C c) { return c.layout.data; }),
      whole("v", [](C c) { return c.layout.interleave; }),
      whole(
          "CP", [](C c) { return c.layout.context; }, "1"),
      whole(
          "EP", [](C c) { return c.layout.expert; }, "1"),
      whole("seq", [](C c) { return c.model.sequence_length; }),
      whole("V", [](C c) { return c.model.vocab_size; }),
      field("precision", "train.precision"),
      field("recompute", "train.recompute"),
      field("sharding", "train.optimizer_sharding", "0"),
      {"machine", [](Shown const& s) { return s.figures->run->machine; }, ""},
      number("iteration (s)", [](Shown const& s) { return s.figures->figures.step_seconds; }),
      number("tokens/s", [](Shown const& s) { return s.figures->figures.tokens_per_second; }),
      number("tokens/s/rank", [](Shown const& s) { return s.figures->figures.tokens_per_second / ranks_of(s); }),
      share("MFU %", &Figures::mfu),
      share("HFU %", &Figures::hfu),
      number("memory (GiB)", [](Shown const& s) { return memory_gib(*s.figures->run); })};
  bool const scales =
      std::ranges::any_of(shown, [&](Shown const& s) { return ranks_of(s) != ranks_of(shown.front()); });
  if (scales) all.push_back(efficiency(result.study, shown));
  if (double const tokens = result.study.train_tokens; tokens > 0)
    all.push_back({concat("days for ", format_count(tokens), " tokens"),
                   [tokens](Shown const& s) { return figure(days_to_train(tokens, *s.figures)); }, ""});
  return all;
}

/// The different values that `get` gives over all that is shown, as one text.
template <class Get>
std::string distinct(StudyResult const& result, Get const& get) {
  std::vector<std::string> values;
  for (Shown const& s : result.shown()) {
    std::string const value = get(s);
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

double days_to_train(double tokens, RepeatResult const& r) { return tokens / r.figures.tokens_per_second / 86400; }

double predicted_seconds(PointResult const& point) {
  if (point.predicted) return point.predicted->figures.step_seconds;
  auto const* typical = point.typical();
  return typical ? typical->run->predicted_step_seconds : unknown_number;
}

Table main_table(StudyResult const& result) {
  Table t{"Results",
          "TFLOP/s, % of peak and aggregate count executed FLOPs (with recomputation), as the tables of 2021 did; MFU "
          "and HFU are named apart.",
          {"point"},
          {}};
  auto const shown = result.shown();
  bool const any_predicted = std::ranges::any_of(shown, &Shown::is_predicted);
  if (any_predicted) t.head.emplace_back("figures");
  for (Shown const& s : shown) {
    t.rows.push_back({s.point->label});
    if (any_predicted) t.rows.back().emplace_back(s.is_predicted ? "predicted" : "measured");
  }
  for (Column const& c : columns(result)) {
    std::vector<std::string> cells;
    for (Shown const& s : shown) cells.push_back(c.cell(s));
    if (std::ranges::all_of(cells, [&](std::string const& cell) { return cell.empty() || cell == c.dull; })) continue;
    t.head.push_back(c.head);
    for (std::size_t i = 0; i < cells.size(); ++i) t.rows[i].push_back(cells[i]);
  }
  return t;
}

Table prediction_table(StudyResult const& result) {
  Table t{"Predicted against measured", "", {"point", "measured (s)", "predicted (s)", "error %"}, {}};
  auto const causes_of = [](PointResult const& p) -> Numbers const& {
    return p.predicted ? p.predicted->figures.time_seconds : p.typical()->run->predicted_time_seconds;
  };
  std::vector<std::string> causes;
  for (auto const* p : result.measured())
    for (auto const& [name, seconds] : causes_of(*p))
      if (std::find(causes.begin(), causes.end(), name) == causes.end()) causes.push_back(name);
  for (std::string name : causes) {
    std::replace(name.begin(), name.end(), '_', ' ');
    t.head.push_back(name + " (s)");
  }
  double sum = 0, worst = 0;
  for (auto const* p : result.measured()) {
    auto const& r = *p->typical();
    double const predicted = predicted_seconds(*p), error = predicted / r.figures.step_seconds - 1;
    if (!std::isfinite(error)) continue;
    sum += std::abs(error), worst = std::max(worst, std::abs(error));
    t.rows.push_back({p->label, figure(r.figures.step_seconds), figure(predicted), signed_percent(error)});
    for (std::string const& name : causes)
      t.rows.back().push_back(
          concat(figure(cause(causes_of(*p), name)), " / ", figure(cause(r.figures.time_seconds, name))));
  }
  if (!t.rows.empty())
    t.note = concat("Mean error ", percent(sum / static_cast<double>(t.rows.size())), " %, largest ", percent(worst),
                    " %. By cause: predicted / measured, the mean of the steps whose median is the step.");
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
    if (p.predicted && !p.predicted->run->does_not_fit.empty())
      t.rows.push_back({p.label, "", "no room", p.predicted->run->does_not_fit});
    bool const asked = result.measured().empty() && p.predicted;  // a study that is predicted only
    for (RepeatResult const& r : p.repeats)
      if (r.record.status != Status::done && !(asked && r.record.status == Status::pending))
        t.rows.push_back(
            {p.label, std::to_string(r.record.repeat), std::string(name_of(r.record.status)), r.record.reason});
  }
  return t;
}

namespace {

std::string peak_text(Shown const& s) {
  auto const x = figure(s.figures->run->peak_tflops);
  return x.empty() ? x : concat(x, " TFLOP/s a rank in ", get_field(s.point->point.config, "train.precision"));
}

/// Whose figures they are: the machine of a run, or the machine file of a prediction.
std::string machine_text(Shown const& s) {
  RunResult const& r = *s.figures->run;
  if (s.is_predicted) return concat(r.machine, " (predicted)");
  return r.processor.empty() ? r.host : r.host.empty() ? r.processor : concat(r.processor, " (", r.host, ")");
}

std::string steps_text(StudyResult const& result) {
  if (result.measured().empty()) return "none: all figures are predicted";
  return concat(
      distinct(result,
               [](Shown const& s) { return s.is_predicted ? "" : get_field(s.point->point.config, "train.steps"); }),
      " a repeat, the first ", result.study.drop_steps, " dropped; the median of the others counts");
}

std::string repeats_text(StudyResult const& result) {
  std::int64_t failed = 0, finished = 0, infeasible = 0, predicted = 0;
  for (PointResult const& p : result.points) {
    infeasible += !p.point.infeasible.empty(), predicted += p.predicted.has_value();
    for (RepeatResult const& r : p.repeats)
      finished += r.record.status == Status::done, failed += is_failure(r.record.status);
  }
  return concat(result.study.repeats, "; ", finished, " finished, ", failed, " failed, ",
                predicted ? concat(predicted, " predicted, ") : "", infeasible,
                infeasible == 1 ? " point infeasible" : " points infeasible");
}

}  // namespace

std::vector<std::pair<std::string, std::string>> conditions(StudyResult const& result) {
  auto const run = [&](std::string RunResult::*field) {
    return distinct(result, [&](Shown const& s) { return (*s.figures->run).*field; });
  };
  auto const config = [&](char const* field) {
    return distinct(result, [&](Shown const& s) { return get_field(s.point->point.config, field); });
  };
  std::vector<std::pair<std::string, std::string>> all{
      {"FLOPs convention", run(&RunResult::flops_convention)},
      {"Peak", distinct(result, peak_text)},
      {"Precision", config("train.precision")},
      {"Vocabulary V", config("model.vocab_size")},
      {"Sequence length s", config("model.sequence_length")},
      {"Steps", steps_text(result)},
      {"Repeats", repeats_text(result)},
      {"Commit", run(&RunResult::commit)},
      {"Program",
       distinct(result, [](Shown const& s) { return concat(s.figures->run->program, " ", s.figures->run->version); })},
      {"Libraries", run(&RunResult::libraries)},
      {"Machine", distinct(result, machine_text)},
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
