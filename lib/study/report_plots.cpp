#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/error.hpp"
#include "core/text.hpp"
#include "study/plot_script.hpp"
#include "study/report.hpp"

namespace selenite {
namespace {

using Points = std::vector<PointResult const*>;

std::vector<std::string> labels_of(Points const& points) {
  std::vector<std::string> labels;
  for (auto const* p : points) labels.push_back(p->label);
  return labels;
}

template <class Get>
Series series(std::string name, Points const& points, Get const& get) {
  Series s{std::move(name), {}};
  for (auto const* p : points) s.values.push_back(get(*p->typical()));
  return s;
}

bool any_finite(std::vector<double> const& values) {
  return std::any_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

std::pair<double, double> range(PointResult const& point, double Figures::*figure) {
  double least = unknown_number, most = unknown_number;
  for (auto const* r : point.finished())
    least = std::fmin(least, r->figures.*figure), most = std::fmax(most, r->figures.*figure);
  return {least, most};
}

Plot throughput(Points const& points) {
  BarChart chart{"tokens/s",
                 labels_of(points),
                 {series("tokens/s", points, [](auto const& r) { return r.figures.tokens_per_second; })},
                 false,
                 {},
                 {},
                 {}};
  for (auto const* p : points) {
    auto const [least, most] = range(*p, &Figures::tokens_per_second);
    chart.least.push_back(least), chart.most.push_back(most);
  }
  return {"throughput", "Throughput",
          "Tokens a second of the whole job, from the median step; whiskers span the repeats.", script_of(chart)};
}

Plot utilization(Points const& points) {
  BarChart chart{"% of peak", labels_of(points), {}, false, {}, {}, {}};
  chart.series.push_back(series("MFU", points, [](auto const& r) { return 100 * r.figures.mfu; }));
  chart.series.push_back(series("HFU", points, [](auto const& r) { return 100 * r.figures.hfu; }));
  return {
      "utilization", "FLOPs utilization",
      "Share of the peak stated above. MFU counts what the model needs, HFU what was executed, recomputation included.",
      any_finite(chart.series[0].values) || any_finite(chart.series[1].values) ? script_of(chart) : ""};
}

/// One series a label, in the order in which the records first name them.
std::vector<Series> by_label(Points const& points, Numbers MeasuredRun::*numbers, double unit) {
  std::vector<Series> all;
  for (auto const* p : points)
    for (auto const& [name, amount] : (*p->typical()->run).*numbers)
      if (amount > 0 && std::none_of(all.begin(), all.end(), [&, &n = name](Series const& s) { return s.name == n; }))
        all.push_back({name, {}});
  for (Series& s : all)
    for (auto const* p : points) {
      double amount = unknown_number;
      for (auto const& [name, x] : (*p->typical()->run).*numbers)
        if (name == s.name) amount = x / unit;
      s.values.push_back(amount);
    }
  for (Series& s : all) std::replace(s.name.begin(), s.name.end(), '_', ' ');
  return all;
}

double total(Numbers const& numbers) {
  double sum = 0;
  for (auto const& [name, x] : numbers) sum += x;
  return sum;
}

Plot memory(Points const& points) {
  double most = 0;
  for (auto const* p : points)
    most = std::fmax(most, std::fmax(total(p->typical()->run->memory_bytes), p->typical()->run->resident_bytes));
  bool const gib = most >= double(1LL << 30);
  double const unit = gib ? double(1LL << 30) : double(1LL << 20);
  BarChart chart{gib ? "GiB a rank" : "MiB a rank",
                 labels_of(points),
                 by_label(points, &MeasuredRun::memory_bytes, unit),
                 true,
                 {},
                 {},
                 {}};
  Series resident = series("measured resident", points, [&](auto const& r) { return r.run->resident_bytes / unit; });
  if (any_finite(resident.values)) chart.marks.push_back(std::move(resident));
  return {"memory", "Memory by label",
          "Bars: what the plan takes of a rank's memory. Mark: the process's resident memory as measured, which also "
          "holds what libraries take.",
          chart.series.empty() ? "" : script_of(chart)};
}

Plot times(Points const& points) {
  double most = 0;
  for (auto const* p : points) most = std::fmax(most, p->typical()->figures.step_seconds);
  bool const seconds = most >= 2;
  double const unit = seconds ? 1 : 1e-3;
  BarChart chart{seconds ? "seconds a step" : "milliseconds a step",
                 labels_of(points),
                 by_label(points, &MeasuredRun::time_seconds, unit),
                 true,
                 {},
                 {},
                 {}};
  chart.marks.push_back(series("measured step", points, [&](auto const& r) { return r.figures.step_seconds / unit; }));
  Series predicted =
      series("predicted step", points, [&](auto const& r) { return r.run->predicted_step_seconds / unit; });
  if (any_finite(predicted.values)) chart.marks.push_back(std::move(predicted));
  return {"time", "Where a step's time goes",
          "Bars: time measured by cause, on the first rank. Marks: the median step and what was predicted for it.",
          chart.series.empty() ? "" : script_of(chart)};
}

Plot predictions(Points const& points) {
  BandChart chart{"measured step, s", "predicted step, s", labels_of(points), {}, {}};
  for (auto const* p : points)
    chart.x.push_back(p->typical()->figures.step_seconds), chart.y.push_back(p->typical()->run->predicted_step_seconds);
  return {"prediction", "Predicted against measured", "Step time of each point; the band is 10 % either side of equal.",
          any_finite(chart.y) ? script_of(chart) : ""};
}

Plot losses(Points const& points) {
  LineChart chart{"step", "loss", {}, false, false, false};
  for (auto const* p : points) {
    Line line{p->label, {}, {}, {}, {}};
    for (StepMetrics const& s : p->typical()->steps)
      if (std::isfinite(s.loss)) line.x.push_back(static_cast<double>(s.step)), line.y.push_back(s.loss);
    if (line.x.size() > 1) chart.lines.push_back(std::move(line));
  }
  bool const useful = !chart.lines.empty() && chart.lines.size() <= looks_apart;
  return {"loss", "Training loss", "Each point's typical repeat, all steps.", useful ? script_of(chart) : ""};
}

bool number_of(std::string const& text, double& x) {
  try {
    x = parse_double(text, "");
    return true;
  } catch (Error const&) {
    return false;
  }
}

/// The axis with most different numbers, three at least: it becomes the x of line charts; empty if there is none.
std::string numeric_axis(StudyResult const& result, Points const& points) {
  std::string best;
  std::size_t most = 2;
  for (std::string const& key : varied_keys(result.study)) {
    std::set<double> values;
    bool numeric = true;
    for (auto const* p : points)
      for (Setting const& s : p->point.varied) {
        double x = 0;
        if (s.key != key) continue;
        numeric = numeric && number_of(s.text, x);
        values.insert(x);
      }
    if (numeric && values.size() > most) best = key, most = values.size();
  }
  return best;
}

/// A figure against the numeric axis, one line for each combination of the others.
Plot against_axis(StudyResult const& result, Points const& points, std::string const& name, std::string const& title,
                  std::string const& axis, double Figures::*figure, double factor) {
  std::string const key = numeric_axis(result, points);
  if (key.empty()) return {};
  std::vector<Line> lines;
  std::map<std::string, std::size_t> line_of;
  for (auto const* p : points) {
    double x = 0;
    std::string others;
    for (Setting const& s : p->point.varied) {
      if (s.key == key)
        number_of(s.text, x);
      else
        others += concat(others.empty() ? "" : " ", short_key(s.key), short_key(s.key).empty() ? "" : "=", s.text);
    }
    auto const [at, is_new] = line_of.emplace(others, lines.size());
    if (is_new) lines.push_back({others, {}, {}, {}, {}});
    auto const [least, most] = range(*p, figure);
    Line& line = lines[at->second];
    line.x.push_back(x), line.y.push_back(factor * (p->typical()->figures.*figure));
    line.least.push_back(factor * least), line.most.push_back(factor * most);
  }
  double least = 1e300, most = 0;
  for (Line const& line : lines)
    for (double x : line.x) least = std::min(least, x), most = std::max(most, x);
  if (lines.size() > looks_apart ||
      std::none_of(lines.begin(), lines.end(), [](Line const& l) { return any_finite(l.y) && l.x.size() > 1; }))
    return {};
  LineChart const chart{key, axis, lines, least > 0 && most >= 4 * least, true, true};
  return {name, title, concat("Against ", key, "; whiskers span the repeats."), script_of(chart)};
}

}  // namespace

std::vector<Plot> plots_of(StudyResult const& result) {
  auto const points = result.measured();
  std::vector<Plot> plots;
  if (points.empty()) return plots;
  for (Plot& plot :
       std::vector{throughput(points), utilization(points),
                   against_axis(result, points, "throughput-axis", "Throughput along the axis", "tokens/s",
                                &Figures::tokens_per_second, 1),
                   against_axis(result, points, "mfu-axis", "MFU along the axis", "MFU, % of peak", &Figures::mfu, 100),
                   times(points), memory(points), predictions(points), losses(points)})
    if (!plot.script.empty()) plots.push_back(std::move(plot));
  return plots;
}

}  // namespace selenite
