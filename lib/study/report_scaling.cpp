// Charts over an axis of the study.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "core/error.hpp"
#include "core/text.hpp"
#include "study/plot_script.hpp"
#include "study/report.hpp"

namespace selenite {
namespace {

using Value = std::function<double(Shown const&)>;

bool number_of(std::string const& text, double& x) {
  try {
    x = parse_double(text, "");
    return true;
  } catch (Error const&) {
    return false;
  }
}

std::string setting_of(Shown const& s, std::string const& key) {
  for (Setting const& setting : s.point->point.varied)
    if (setting.key == key) return setting.text;
  return "";
}

/// The points in lines: one for each combination of the values of the axes but `along`, measured apart from predicted.
class Lines {
 public:
  Lines(StudyResult const& result, std::vector<std::string> const& along) {
    auto const all = result.shown();
    bool const mixed =
        std::ranges::any_of(all, &Shown::is_predicted) && !std::ranges::all_of(all, &Shown::is_predicted);
    for (Shown const& s : all) {
      std::string others = label_without(result.study, s.point->point, along);
      if (mixed) others += concat(others.empty() ? "" : ", ", s.is_predicted ? "predicted" : "measured");
      auto const [at, is_new] = line_of_.emplace(others, lines.size());
      if (is_new) lines.emplace_back(others, std::vector<Shown>{});
      lines[at->second].second.push_back(s);
    }
  }

  /// With x rising; whiskers where `spread` names a figure.
  std::vector<Line> drawn(Value const& x, Value const& y, double Figures::*spread = nullptr, double factor = 1) const {
    std::vector<Line> out;
    for (auto const& [name, points] : lines) {
      std::vector<Shown> sorted = points;
      std::ranges::stable_sort(sorted, {}, x);
      Line line{!name.empty() ? name : sorted.front().is_predicted ? "predicted" : "measured", {}, {}, {}, {}};
      for (Shown const& s : sorted) {
        line.x.push_back(x(s)), line.y.push_back(y(s));
        if (!spread || s.is_predicted) continue;
        auto const [least, most] = spread_of(s, spread);
        line.least.push_back(factor * least), line.most.push_back(factor * most);
      }
      out.push_back(std::move(line));
    }
    return out;
  }

  std::vector<std::pair<std::string, std::vector<Shown>>> lines;

 private:
  std::map<std::string, std::size_t> line_of_;
};

/// Too many lines can't be told apart, and a line of one x says nothing.
bool can_be_drawn(std::vector<Line> const& lines) {
  auto const useful = [](Line const& l) {
    return l.x.size() > 1 && l.x.front() != l.x.back() &&
           std::ranges::any_of(l.y, [](double y) { return std::isfinite(y); });
  };
  return lines.size() < looks_apart && std::ranges::any_of(lines, useful);
}

bool spans(std::vector<Line> const& lines, double times) {
  double least = 1e300, most = 0;
  for (Line const& line : lines)
    for (double x : line.x) least = std::min(least, x), most = std::max(most, x);
  return least > 0 && most >= times * least;
}

Plot aggregate(StudyResult const& result, Lines const& by_ranks) {
  auto const flops = [](Shown const& s) { return s.figures->figures.hardware_tflops_per_rank * ranks_of(s); };
  double most = 0;
  for (Shown const& s : result.shown()) most = std::max(most, flops(s));
  double const unit = most >= 1000 ? 1000 : 1;
  LineChart chart{"ranks", unit > 1 ? "aggregate PFLOP/s" : "aggregate TFLOP/s",
                  by_ranks.drawn(ranks_of, [&](Shown const& s) { return flops(s) / unit; })};
  if (!can_be_drawn(chart.lines) || !spans(chart.lines, 1.9)) return {};
  Line published{"published", {}, {}, {}, {}};
  for (PublishedPoint const& p : published_points(result))
    if (p.executes_flops && !std::ranges::count(published.x, ranks_of(p.shown))) {
      published.x.push_back(ranks_of(p.shown));
      published.y.push_back(p.published * ranks_of(p.shown) / unit);
    }
  Line linear{"linear", {}, {}, {}, {}, true};
  Line const& first = chart.lines.front();
  double end = 0;
  for (Line const& line : chart.lines) end = std::max(end, line.x.back());
  for (double x : {first.x.front(), end})
    linear.x.push_back(x), linear.y.push_back(first.y.front() * x / first.x.front());
  if (!published.x.empty()) chart.lines.push_back(std::move(published));
  chart.lines.push_back(std::move(linear));
  chart.log_x = chart.log_y = true;
  return {"aggregate", "Aggregate FLOP/s",
          "Executed FLOPs of the whole job a second, recomputation included; \"linear\" goes on from the "
          "smallest job.",
          script_of(chart)};
}

/// Lines in which one model and one batch meet different numbers of ranks.
Plot strong_scaling(Lines const& by_ranks) {
  Lines fixed = by_ranks;
  std::erase_if(fixed.lines, [](auto const& line) {
    Config const& first = line.second.front().point->point.config;
    return std::ranges::any_of(line.second, [&](Shown const& s) {
      Config const& c = s.point->point.config;
      return !(c.model == first.model) || c.train.global_batch != first.train.global_batch;
    });
  });
  auto const speed = [](Shown const& s) { return s.figures->figures.tokens_per_second; };
  LineChart chart{"ranks", "speed-up", fixed.drawn(ranks_of, speed)};
  if (!can_be_drawn(chart.lines)) return {};
  double least = 1e300, most = 0;
  for (Line& line : chart.lines) {
    double const base = line.y.front() / line.x.front();
    least = std::min(least, line.x.front()), most = std::max(most, line.x.back());
    for (double& y : line.y) y /= base;
  }
  for (Line& line : chart.lines)
    for (double& y : line.y) y /= least;
  chart.lines.push_back({"perfect", {least, most}, {1, most / least}, {}, {}, true});
  chart.log_x = chart.log_y = spans(chart.lines, 4);
  return {"strong", "Strong scaling", "Tokens a second at one model and one global batch, against the smallest job's.",
          script_of(chart)};
}

Plot days(StudyResult const& result, Lines const& by_ranks) {
  double const tokens = result.study.train_tokens;
  if (tokens <= 0) return {};
  LineChart chart{"ranks", "days",
                  by_ranks.drawn(ranks_of, [&](Shown const& s) { return days_to_train(tokens, *s.figures); })};
  if (!can_be_drawn(chart.lines)) return {};
  chart.log_x = chart.log_y = spans(chart.lines, 1.9);
  return {"days", concat("Days for ", format_count(tokens), " tokens"),
          "Tokens over tokens a second, without restarts and checkpoints.", script_of(chart)};
}

/// The axis with most different numbers, three at least: it becomes the x of line charts; empty if there is none.
std::string numeric_axis(StudyResult const& result, std::vector<Shown> const& shown) {
  std::string best;
  std::size_t most = 2;
  for (std::string const& key : varied_keys(result.study)) {
    std::set<double> values;
    bool const numeric = std::ranges::all_of(shown, [&](Shown const& s) {
      double x = 0;
      bool const is = number_of(setting_of(s, key), x);
      values.insert(x);
      return is;
    });
    if (numeric && values.size() > most) best = key, most = values.size();
  }
  return best;
}

/// What the x of line charts is: the number of ranks where it varies, else the numeric axis.
struct Along {
  std::string name;
  std::vector<std::string> keys;
  Value x;
};

std::optional<Along> along_of(StudyResult const& result, std::vector<Shown> const& shown) {
  std::set<double> ranks;
  for (Shown const& s : shown) ranks.insert(ranks_of(s));
  if (ranks.size() > 2) return Along{"ranks", keys_of_ranks(result.study), ranks_of};
  std::string const key = numeric_axis(result, shown);
  if (key.empty()) return std::nullopt;
  auto const x = [key](Shown const& s) {
    double value = 0;
    number_of(setting_of(s, key), value);
    return value;
  };
  std::string const letter = short_key(key);
  return Along{letter.size() > 1 ? key : concat(key, " (", letter, ")"), keys_beside(result.study, key), x};
}

/// A figure along it, one line for each combination of the other axes.
Plot along(StudyResult const& result, Along const& axis, Plot plot, std::string const& y_axis, double Figures::*figure,
           double factor) {
  Lines const lines(result, axis.keys);
  LineChart chart{axis.name, y_axis,
                  lines.drawn(
                      axis.x, [&](Shown const& s) { return factor * (s.figures->figures.*figure); }, figure, factor)};
  if (!can_be_drawn(chart.lines)) return {};
  chart.log_x = spans(chart.lines, 4);
  plot.caption = concat("Against ", axis.name, "; whiskers span the repeats.");
  plot.script = script_of(chart);
  return plot;
}

/// In one word what keeps a point from being run.
std::string obstacle(PointResult const& p) {
  std::string const& why = p.point.infeasible;
  if (p.predicted && !p.predicted->run->does_not_fit.empty()) return "memory";
  if (why.empty()) {
    bool const oom =
        std::ranges::any_of(p.repeats, [](RepeatResult const& r) { return r.record.status == Status::oom; });
    bool const failed =
        std::ranges::any_of(p.repeats, [](RepeatResult const& r) { return is_failure(r.record.status); });
    return oom ? "memory" : failed ? "failed" : "";
  }
  for (auto const& [sign, word] : {std::pair{"number of ranks", "ranks"},
                                   {" ranks but the job has ", "ranks"},
                                   {"model.heads", "heads"},
                                   {"kv_heads", "heads"},
                                   {"model.layers", "layers"},
                                   {"global_batch", "batch"},
                                   {"batch", "batch"},
                                   {"ffn_hidden", "width"},
                                   {"vocabulary", "vocab"},
                                   {"This is the same run", "same"}})
    if (why.find(sign) != std::string::npos) return word;
  return "no";
}

std::string one_decimal(double x) {
  std::array<char, 32> buffer;
  std::snprintf(buffer.data(), buffer.size(), "%.1f", x);
  return buffer.data();
}

/// The best MFU over the other axes for each pair of tensor and pipeline sizes.
Plot tensor_by_pipe(StudyResult const& result) {
  auto const size = [](PointResult const& p, bool tensor) {
    LayoutConfig const& l = p.point.config.layout;
    return tensor ? l.tensor : l.pipe;
  };
  std::set<std::int64_t> tensors, pipes;
  for (PointResult const& p : result.points) tensors.insert(size(p, true)), pipes.insert(size(p, false));
  auto const has_axis = [&](std::string const& key, std::string const& other) {
    auto const beside = keys_beside(result.study, key), varied = varied_keys(result.study);
    return std::ranges::count(varied, key) > 0 && std::ranges::count(beside, other) == 0;
  };
  bool const crossed = has_axis("layout.tensor", "layout.pipe") && has_axis("layout.pipe", "layout.tensor");
  if (!crossed || tensors.size() < 2 || pipes.size() < 2 || tensors.size() > 12 || pipes.size() > 12) return {};
  HeatMap map{"pipeline stages (PP)", "tensor ranks (TP)", {}, {}, {}};
  for (auto p : pipes) map.columns.push_back(std::to_string(p));
  for (auto t : tensors) {
    map.rows.push_back(std::to_string(t));
    auto& row = map.cells.emplace_back();
    for (auto p : pipes) {
      HeatMap::Cell cell{unknown_number, ""};
      for (PointResult const& point : result.points) {
        if (size(point, true) != t || size(point, false) != p) continue;
        std::string const why = obstacle(point);
        auto const* figures = point.typical() ? point.typical() : point.predicted ? &*point.predicted : nullptr;
        double const mfu = why.empty() && figures ? figures->figures.mfu : unknown_number;
        if (mfu > cell.value || (std::isfinite(mfu) && !std::isfinite(cell.value)))
          cell = {mfu, one_decimal(100 * mfu)};
        else if (!std::isfinite(cell.value) && cell.text.empty())
          cell.text = why;
      }
      row.push_back(std::move(cell));
    }
  }
  if (std::ranges::none_of(map.cells, [](auto const& row) {
        return std::ranges::any_of(row, [](HeatMap::Cell const& c) { return std::isfinite(c.value); });
      }))
    return {};
  return {
      "tensor-pipe", "MFU by tensor and pipeline size",
      "Per cent of peak, the best over the other axes. Hatched cells can't be run, for want of memory or because the "
      "named size does not divide; the list below has the reasons.",
      script_of(map)};
}

}  // namespace

std::vector<Plot> scaling_plots(StudyResult const& result) {
  auto const shown = result.shown();
  Lines const by_ranks(result, keys_of_ranks(result.study));
  std::vector<Plot> plots{aggregate(result, by_ranks), strong_scaling(by_ranks), days(result, by_ranks)};
  if (auto const axis = along_of(result, shown)) {
    if (axis->name != "ranks")
      plots.push_back(along(result, *axis, {"throughput-axis", "Throughput along the axis", "", ""}, "tokens/s",
                            &Figures::tokens_per_second, 1));
    plots.push_back(
        along(result, *axis, {"mfu-axis", "MFU along the axis", "", ""}, "MFU, % of peak", &Figures::mfu, 100));
  }
  plots.push_back(tensor_by_pipe(result));
  std::erase_if(plots, [](Plot const& plot) { return plot.script.empty(); });
  return plots;
}

}  // namespace selenite
