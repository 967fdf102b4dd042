// A study's figures beside those that somebody published for the same runs.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "core/error.hpp"
#include "core/text.hpp"
#include "study/plot_script.hpp"
#include "study/report.hpp"
#include "study/validate.hpp"

namespace selenite {
namespace {

std::int64_t world_of(LayoutConfig const& l) { return l.tensor * l.context * l.expert * l.pipe * l.data; }

/// What makes a run what it is, of a resolved config: not how long it goes on, nor where it writes.
Config essence(Config const& c) {
  Config e;
  e.model = c.model, e.layout = c.layout;
  e.model.preset.clear();
  if (e.layout.interleave == 1 && e.layout.schedule == ScheduleKind::interleaved)
    e.layout.schedule = ScheduleKind::one_f_one_b;  // with one chunk they are the same
  e.train.micro_batch = c.train.micro_batch, e.train.global_batch = c.train.global_batch;
  e.train.precision = c.train.precision, e.train.gradient_reduce = c.train.gradient_reduce;
  e.train.recompute = c.train.recompute, e.train.recompute_layers = c.train.recompute_layers;
  e.train.optimizer_sharding = c.train.optimizer_sharding;
  return e;
}

/// The row's run with what its source does not state taken from `point`; none if that can't be resolved.
std::optional<Config> run_of(PublishedRow const& row, Config const& point) {
  Config c = row.config;
  if (row.any_micro_batch) c.train.micro_batch = point.train.micro_batch;
  if (row.any_interleave) c.layout.interleave = point.layout.interleave, c.layout.schedule = point.layout.schedule;
  try {
    return essence(resolve(c, world_of(c.layout)));
  } catch (Error const&) {
    return std::nullopt;
  }
}

double quantity_of(Shown const& s, Quantity quantity) {
  Figures const& f = s.figures->figures;
  switch (quantity) {
    case Quantity::iteration_seconds:
      return f.step_seconds;
    case Quantity::hardware_tflops:
      return f.hardware_tflops_per_rank;
    case Quantity::model_tflops:
      return f.model_tflops_per_rank;
    default:
      return unknown_number;
  }
}

}  // namespace

std::vector<PublishedPoint> published_points(StudyResult const& result) {
  std::vector<PublishedPoint> out;
  if (result.study.published.empty()) return out;
  PublishedSet const set = load_published(published_folder(), result.study.published);
  for (PublishedRow const& row : set.rows)
    for (bool const predicted : {false, true}) {
      std::optional<Shown> best;
      for (Shown const& s : result.shown()) {
        if (s.is_predicted != predicted || run_of(row, s.point->point.config) != essence(s.point->point.config))
          continue;
        if (!best || s.figures->figures.step_seconds < best->figures->figures.step_seconds) best = s;
      }
      if (best)
        out.push_back({row.name, std::string(unit(row.quantity)), row.quantity == Quantity::hardware_tflops, row.fitted,
                       row.value, quantity_of(*best, row.quantity), *best});
    }
  std::erase_if(out, [](PublishedPoint const& p) { return !std::isfinite(p.ours); });
  return out;
}

Table published_table(StudyResult const& result) {
  Table t{"Beside what was published",
          "",
          {"row", "ranks", "b", "v", "unit", "published", "ours", "error %", "ours is"},
          {}};
  double sum = 0, worst = 0;
  auto const points = published_points(result);
  for (PublishedPoint const& p : points) {
    double const error = p.ours / p.published - 1;
    sum += std::abs(error), worst = std::max(worst, std::abs(error));
    Point const& point = p.shown.point->point;
    t.rows.push_back({p.row, std::to_string(point.ranks), std::to_string(point.config.train.micro_batch),
                      std::to_string(point.config.layout.interleave), p.unit, figure(p.published), figure(p.ours),
                      signed_percent(error),
                      concat(p.shown.is_predicted ? "predicted" : "measured", p.fitted ? ", fitted on this row" : "")});
  }
  if (!points.empty())
    t.note = concat("Published set ", result.study.published, " (scaling/published). Mean error ",
                    percent(sum / static_cast<double>(points.size())), " %, largest ", percent(worst),
                    " %. Of several points that are the same run the fastest counts.");
  return t;
}

Plot published_plot(StudyResult const& result) {
  auto const points = published_points(result);
  if (points.empty()) return {};
  BandChart chart{concat("published, ", points.front().unit), concat("ours, ", points.front().unit), {}, {}, {}};
  for (PublishedPoint const& p : points)
    chart.labels.push_back(p.row), chart.x.push_back(p.published), chart.y.push_back(p.ours);
  return {"published", "Ours against published",
          "Each row of the published table; the band is 10 % either side of equal.", script_of(chart)};
}

}  // namespace selenite
