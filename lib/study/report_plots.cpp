// Charts of bars, one a point; losses; and predictions. Charts over an axis are in report_scaling.cpp.
#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/text.hpp"
#include "study/plot_script.hpp"
#include "study/report.hpp"

namespace selenite {
namespace {

/// What bars show, one a point: its measured figures, else what is predicted.
struct Bars {
  std::vector<Shown> rows;
  std::string remark;  ///< for captions: which are predicted, which are left out
};

constexpr std::size_t most_bars = 16;

Bars bars_of(StudyResult const& result) {
  Bars bars;
  for (Shown const& s : result.shown())
    if (!s.is_predicted || !s.point->typical()) bars.rows.push_back(s);
  std::size_t const all = bars.rows.size();
  if (all > most_bars) {
    std::ranges::stable_sort(bars.rows, std::greater<>(),
                             [](Shown const& s) { return s.figures->figures.model_tflops_per_rank; });
    bars.rows.resize(most_bars);
    bars.remark = concat(" The ", most_bars, " points with most FLOP/s a rank, of ", all, ".");
  }
  auto const predicted = std::ranges::count_if(bars.rows, &Shown::is_predicted);
  if (predicted == static_cast<std::int64_t>(bars.rows.size()))
    bars.remark += " All predicted.";
  else if (predicted > 0)
    bars.remark += " * is predicted.";
  return bars;
}

bool is_mixed(Bars const& bars) {
  auto const predicted = std::ranges::count_if(bars.rows, &Shown::is_predicted);
  return predicted > 0 && predicted < static_cast<std::int64_t>(bars.rows.size());
}

std::vector<std::string> labels_of(Bars const& bars) {
  std::vector<std::string> labels;
  for (Shown const& s : bars.rows) labels.push_back(s.point->label + (s.is_predicted && is_mixed(bars) ? " *" : ""));
  return labels;
}

template <class Get>
Series series(std::string name, Bars const& bars, Get const& get) {
  Series s{std::move(name), {}};
  for (Shown const& row : bars.rows) s.values.push_back(get(row));
  return s;
}

bool any_finite(std::vector<double> const& values) {
  return std::any_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

Plot throughput(Bars const& bars) {
  BarChart chart{"tokens/s",
                 labels_of(bars),
                 {series("tokens/s", bars, [](Shown const& s) { return s.figures->figures.tokens_per_second; })},
                 false,
                 {},
                 {},
                 {}};
  for (Shown const& s : bars.rows) {
    auto const [least, most] = spread_of(s, &Figures::tokens_per_second);
    chart.least.push_back(least), chart.most.push_back(most);
  }
  return {"throughput", "Throughput",
          "Tokens a second of the whole job, from the median step; whiskers span the repeats." + bars.remark,
          script_of(chart)};
}

Plot utilization(Bars const& bars) {
  BarChart chart{"% of peak", labels_of(bars), {}, false, {}, {}, {}};
  chart.series.push_back(series("MFU", bars, [](Shown const& s) { return 100 * s.figures->figures.mfu; }));
  chart.series.push_back(series("HFU", bars, [](Shown const& s) { return 100 * s.figures->figures.hfu; }));
  return {"utilization", "FLOPs utilization",
          "Share of the peak stated above. MFU counts what the model needs, HFU what was executed, recomputation "
          "included." +
              bars.remark,
          any_finite(chart.series[0].values) || any_finite(chart.series[1].values) ? script_of(chart) : ""};
}

/// One series a label, in the order in which the records first name them.
std::vector<Series> by_label(Bars const& bars, Numbers const& (*numbers)(RepeatResult const&), double unit) {
  std::vector<Series> all;
  for (Shown const& s : bars.rows)
    for (auto const& [name, amount] : numbers(*s.figures))
      if (amount > 0 && std::none_of(all.begin(), all.end(), [&, &n = name](Series const& x) { return x.name == n; }))
        all.push_back({name, {}});
  for (Series& series : all)
    for (Shown const& s : bars.rows) {
      double amount = unknown_number;
      for (auto const& [name, x] : numbers(*s.figures))
        if (name == series.name) amount = x / unit;
      series.values.push_back(amount);
    }
  for (Series& series : all) {
    std::replace(series.name.begin(), series.name.end(), '_', ' ');
    std::string const word = "communication ";  // two columns of the key have 18 letters each
    if (series.name.starts_with(word)) series.name = "comm. " + series.name.substr(word.size());
  }
  return all;
}

double total(Numbers const& numbers) {
  double sum = 0;
  for (auto const& [name, x] : numbers) sum += x;
  return sum;
}

Plot memory(Bars const& bars) {
  double most = 0;
  for (Shown const& s : bars.rows)
    most = std::fmax(most, std::fmax(total(s.figures->run->memory_bytes), s.figures->run->resident_bytes));
  bool const gib = most >= double(1LL << 30);
  double const unit = gib ? double(1LL << 30) : double(1LL << 20);
  BarChart chart{gib ? "GiB a rank" : "MiB a rank",
                 labels_of(bars),
                 by_label(
                     bars, [](RepeatResult const& r) -> Numbers const& { return r.run->memory_bytes; }, unit),
                 true,
                 {},
                 {},
                 {}};
  Series resident =
      series("measured resident", bars, [&](auto const& s) { return s.figures->run->resident_bytes / unit; });
  bool const measured = any_finite(resident.values);
  if (measured) chart.marks.push_back(std::move(resident));
  Series limit = series("device limit", bars, [&](auto const& s) { return s.figures->run->memory_limit / unit; });
  if (any_finite(limit.values)) chart.limits = std::move(limit);
  return {"memory", "Memory by label",
          concat("Bars: what the plan takes of the fullest rank's memory.",
                 measured ? " Mark: the first rank's resident memory as measured, which also holds what libraries take."
                          : "",
                 chart.limits.values.empty() ? "" : " Dashed: what the device has.", bars.remark),
          chart.series.empty() ? "" : script_of(chart)};
}

Plot times(Bars const& bars) {
  double most = 0;
  for (Shown const& s : bars.rows) most = std::fmax(most, s.figures->figures.step_seconds);
  bool const seconds = most >= 2;
  double const unit = seconds ? 1 : 1e-3;
  BarChart chart{seconds ? "seconds a step" : "milliseconds a step",
                 labels_of(bars),
                 by_label(
                     bars, [](RepeatResult const& r) -> Numbers const& { return r.figures.time_seconds; }, unit),
                 true,
                 {},
                 {},
                 {}};
  bool const measured = std::ranges::any_of(bars.rows, [](Shown const& s) { return !s.is_predicted; });
  if (measured) {
    chart.marks.push_back(series("measured step", bars, [&](Shown const& s) {
      return s.is_predicted ? unknown_number : s.figures->figures.step_seconds / unit;
    }));
    Series predicted =
        series("predicted step", bars, [&](Shown const& s) { return predicted_seconds(*s.point) / unit; });
    if (any_finite(predicted.values)) chart.marks.push_back(std::move(predicted));
  }
  return {"time", "Where a step's time goes",
          concat("Bars: mean time by cause",
                 measured ? ", on the first rank. Marks: the median step and what was predicted for it." : ".",
                 bars.remark),
          chart.series.empty() ? "" : script_of(chart)};
}

Plot predictions(StudyResult const& result) {
  BandChart chart{"measured step, s", "predicted step, s", {}, {}, {}};
  for (auto const* p : result.measured()) {
    chart.labels.push_back(p->label);
    chart.x.push_back(p->typical()->figures.step_seconds), chart.y.push_back(predicted_seconds(*p));
  }
  return {"prediction", "Predicted against measured", "Step time of each point; the band is 10 % either side of equal.",
          any_finite(chart.y) ? script_of(chart) : ""};
}

Plot losses(StudyResult const& result) {
  LineChart chart{"step", "loss", {}, false, false, false};
  for (auto const* p : result.measured()) {
    Line line{p->label, {}, {}, {}, {}};
    for (StepMetrics const& s : p->typical()->steps)
      if (std::isfinite(s.loss)) line.x.push_back(static_cast<double>(s.step)), line.y.push_back(s.loss);
    if (line.x.size() > 1) chart.lines.push_back(std::move(line));
  }
  bool const useful = !chart.lines.empty() && chart.lines.size() <= looks_apart;
  return {"loss", "Training loss", "Each point's typical repeat, all steps.", useful ? script_of(chart) : ""};
}

}  // namespace

std::pair<double, double> spread_of(Shown const& shown, double Figures::*figure) {
  if (shown.is_predicted) return {unknown_number, unknown_number};
  double least = unknown_number, most = unknown_number;
  for (auto const* r : shown.point->finished())
    least = std::fmin(least, r->figures.*figure), most = std::fmax(most, r->figures.*figure);
  return {least, most};
}

std::vector<Plot> plots_of(StudyResult const& result) {
  Bars const bars = bars_of(result);
  std::vector<Plot> plots = scaling_plots(result);
  if (bars.rows.empty()) return {};
  for (Plot& plot : std::vector{throughput(bars), utilization(bars), times(bars), memory(bars), predictions(result),
                                published_plot(result), losses(result)})
    if (!plot.script.empty()) plots.push_back(std::move(plot));
  return plots;
}

}  // namespace selenite
