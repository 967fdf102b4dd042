#include "study/plot_script.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {
namespace {

/// Fills and lines that differ in black and white too: full and hatched by turns, light and dark by turns.
struct Look {
  char const* fill;
  char const* color;
  int dash, point;
};
constexpr std::array<Look, 9> looks{{{"solid 1.0", "#1f4e79", 1, 7},
                                     {"pattern 4", "#c55a11", 2, 4},
                                     {"solid 1.0", "#9dc3e6", 4, 9},
                                     {"pattern 1", "#38761d", 3, 5},
                                     {"solid 1.0", "#7f7f7f", 5, 11},
                                     {"pattern 5", "#7030a0", 6, 6},
                                     {"solid 1.0", "#ffe699", 7, 8},
                                     {"pattern 2", "#990000", 8, 12},
                                     {"solid 0.0", "#404040", 9, 10}}};
Look const& look(std::size_t i) { return looks[i % looks.size()]; }

/// In single quotes gnuplot takes everything but the quote as it is.
std::string quoted(std::string const& text) {
  std::string out = "'";
  for (char c : text) {
    if (c == '\'') out += '\'';
    out += c == '\n' ? ' ' : c;
  }
  return out + "'";
}

std::string value(double v) { return std::isfinite(v) ? format_double(v) : "NaN"; }

constexpr int width = 440, row = 20;  // of a picture and of a line of its key

std::string head(int height) {
  return concat(
      "set terminal svg size ", width, ",", height, " dynamic font 'Arial,14' background rgb 'white'\n",
      "set border 3 lc rgb '#404040'\nset tics nomirror\nset grid lc rgb '#d0d0d0' lw 0.5 dt 1\nset key noenhanced\n");
}

/// A key above the plot, from the left edge: two columns, or one where a name is long; nothing for a single entry.
struct Key {
  std::size_t entries = 0, longest = 0;
  void add(std::string const& name) { ++entries, longest = std::max(longest, name.size()); }
  std::size_t rows() const { return longest > 18 ? entries : (entries + 1) / 2; }
  int height() const { return entries > 1 ? static_cast<int>(rows()) * row + 16 : 8; }
  std::string script(int picture_height) const {
    if (entries < 2) return "unset key\n";
    double const top = 1 - static_cast<double>(height()) / picture_height;
    return concat("set tmargin at screen ", top, "\nset key at screen 0.02, screen ", 1 - 4.0 / picture_height,
                  " top left vertical maxrows ", rows(), " Left reverse samplen 2.5 width 1\n");
  }
};

/// A distance between tics that leaves room for five numbers: 1, 2 or 5 times a power of ten.
double tic_step(double limit) {
  double const power = std::pow(10, std::floor(std::log10(limit / 5)));
  for (double factor : {1.0, 2.0, 5.0})
    if (factor * power * 5.001 >= limit) return factor * power;
  return 10 * power;
}

double largest(std::vector<double> const& values, double so_far) {
  for (double v : values)
    if (std::isfinite(v)) so_far = std::max(so_far, v);
  return so_far;
}

/// Rows "y x0 x1" of one series' boxes; `base` is where each stacked box begins and is moved on.
std::string boxes(BarChart const& chart, std::size_t s, std::vector<double>& base) {
  std::string rows;
  double const thickness = chart.stacked ? 0.72 : 0.78 / static_cast<double>(chart.series.size());
  for (std::size_t i = 0; i < chart.labels.size(); ++i) {
    double const v = chart.series[s].values[i];
    if (!std::isfinite(v)) continue;
    double const from = chart.stacked ? base[i] : 0;
    double const middle =
        static_cast<double>(i) + (chart.stacked ? 0 : (static_cast<double>(s) + 0.5) * thickness - 0.39);
    rows += concat(value((from + from + v) / 2), " ", value(middle), " ", value(from), " ", value(from + v), " ",
                   value(middle - thickness / 2), " ", value(middle + thickness / 2), "\n");
    base[i] = from + v;
  }
  return rows.empty() ? "NaN NaN NaN NaN NaN NaN\n" : rows;
}

std::string point_rows(std::vector<double> const& x) {
  std::string rows;
  for (std::size_t i = 0; i < x.size(); ++i) rows += concat(value(x[i]), " ", i, "\n");
  return rows;
}

/// A vertical stroke across each bar, one piece where neighbours have the same limit.
std::string limit_rows(std::vector<double> const& x) {
  std::string rows;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!std::isfinite(x[i])) continue;
    double const middle = static_cast<double>(i);
    rows += concat(value(x[i]), " ", value(middle - 0.5), "\n", value(x[i]), " ", value(middle + 0.5), "\n");
    if (i + 1 < x.size() && x[i + 1] != x[i]) rows += "\n";
  }
  return rows.empty() ? "NaN NaN\n" : rows;
}

double bar_limit(BarChart const& chart) {
  double limit = 0;
  std::vector<double> sum(chart.labels.size(), 0);
  for (Series const& s : chart.series) {
    if (!chart.stacked) limit = largest(s.values, limit);
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += std::isfinite(s.values[i]) ? s.values[i] : 0;
  }
  if (chart.stacked) limit = largest(sum, limit);
  for (Series const& m : chart.marks) limit = largest(m.values, limit);
  limit = largest(chart.most, largest(chart.limits.values, limit));
  return limit > 0 ? limit * 1.04 : 1;
}

/// 131072 as 128Ki: lengths of sequences would touch each other.
std::string tic_name(double x) {
  constexpr double kibi = 1024, mebi = kibi * kibi;
  if (x >= mebi && std::fmod(x, mebi) == 0) return concat(x / mebi, "Mi");
  if (x >= 8 * kibi && std::fmod(x, kibi) == 0) return concat(x / kibi, "Ki");
  return concat(x);
}

/// A logarithmic x axis of base 2: some room left and right of the values; marks at the values themselves, every second
/// or third where they would touch, since a telephone shows seven numbers at most.
std::string log_axis(std::vector<Line> const& lines) {
  std::vector<double> values;
  for (Line const& line : lines)
    if (!line.is_reference) values.insert(values.end(), line.x.begin(), line.x.end());
  if (values.empty()) return "";
  std::sort(values.begin(), values.end());
  double const least = values.front(), most = values.back(), span = std::log(most / least) + 0.45;
  std::string text = concat("set logscale x 2\nset xrange [", value(least / 1.25), ":", value(most * 1.25),
                            "]\nset format x '%g'\nset xtics (");
  double last = 0;
  for (double x : values) {
    std::string const name = tic_name(x);
    double const room = span * (0.02 + 0.03 * static_cast<double>(name.size()));  // of a picture 440 units wide
    if (last > 0 && std::log(x / last) < room) continue;
    text += concat(last > 0 ? ", " : "", "'", name, "' ", value(x));
    last = x;
  }
  return text + ")\n";
}

}  // namespace

std::string script_of(BarChart const& chart) {
  Key key;
  for (auto const* all : {&chart.series, &chart.marks})
    for (Series const& s : *all) key.add(s.name);
  if (!chart.limits.values.empty()) key.add(chart.limits.name);
  int const bar = chart.stacked || chart.series.size() == 1 ? 28 : 38;
  // gnuplot gives a key no more rows than fit beside the plot itself: a plot of few bars is made as high as its key
  int const height = 60 + key.height() + std::max(bar * static_cast<int>(chart.labels.size()), key.height() + 4);
  std::string text = head(height) + key.script(height);
  text += concat("set xrange [0:", value(bar_limit(chart)), "]\nset yrange [",
                 static_cast<double>(chart.labels.size()) - 0.5, ":-0.5]\n");
  text += concat("set xlabel ", quoted(chart.axis), " noenhanced\nset format x '%g'\nset xtics ",
                 value(tic_step(bar_limit(chart))), "\n",
                 "unset grid\nset grid x lc rgb '#d0d0d0' lw 0.5\nset ytics scale 0 noenhanced (");
  for (std::size_t i = 0; i < chart.labels.size(); ++i) text += concat(i ? ", " : "", quoted(chart.labels[i]), " ", i);
  text += ")\n";
  std::vector<double> base(chart.labels.size(), 0);
  for (std::size_t s = 0; s < chart.series.size(); ++s)
    text += concat("$series", s, " << EOD\n", boxes(chart, s, base), "EOD\n");
  for (std::size_t m = 0; m < chart.marks.size(); ++m)
    text += concat("$mark", m, " << EOD\n", point_rows(chart.marks[m].values), "EOD\n");
  std::string plots;
  for (std::size_t s = 0; s < chart.series.size(); ++s)
    plots +=
        concat(plots.empty() ? "" : ", \\\n  ", "$series", s, " using 1:2:3:4:5:6 with boxxyerror fs ", look(s).fill,
               " border rgb '#202020' lc rgb '", look(s).color, "' title ", quoted(chart.series[s].name));
  if (!chart.most.empty()) {
    text += "$spread << EOD\n";
    for (std::size_t i = 0; i < chart.labels.size(); ++i)
      if (std::isfinite(chart.most[i]))
        text += concat(value(chart.series[0].values[i]), " ", i, " ", value(chart.least[i]), " ", value(chart.most[i]),
                       "\n");
    text += "EOD\n";
    plots += ", \\\n  $spread using 1:2:3:4 with xerrorbars lc rgb 'black' lw 1.5 pt -1 notitle";
  }
  if (!chart.limits.values.empty()) {
    text += concat("$limits << EOD\n", limit_rows(chart.limits.values), "EOD\n");
    plots +=
        concat(", \\\n  $limits using 1:2 with lines lw 2.5 dt 2 lc rgb '#990000' title ", quoted(chart.limits.name));
  }
  for (std::size_t m = 0; m < chart.marks.size(); ++m)
    plots += concat(", \\\n  $mark", m, " using 1:2 with points pt ", m ? 6 : 13, " ps 1.1 lc rgb 'black' title ",
                    quoted(chart.marks[m].name));
  return concat(text, "plot ", plots, "\n");
}

std::string script_of(LineChart const& chart) {
  Key key;
  for (Line const& line : chart.lines) key.add(line.name);
  int const height = 290 + key.height();
  std::string text = head(height) + key.script(height);
  text +=
      concat("set xlabel ", quoted(chart.x_axis), " noenhanced\nset ylabel ", quoted(chart.y_axis), " noenhanced\n");
  if (chart.from_zero && !chart.log_y) text += "set yrange [0:*]\n";
  if (chart.log_x) text += log_axis(chart.lines);
  if (chart.log_y) text += "set logscale y 10\nset format y '%g'\n";
  std::string plots;
  for (std::size_t i = 0; i < chart.lines.size(); ++i) {
    Line const& line = chart.lines[i];
    bool const spread = !line.most.empty();
    text += concat("$line", i, " << EOD\n");
    for (std::size_t k = 0; k < line.x.size(); ++k)
      text += concat(value(line.x[k]), " ", value(line.y[k]),
                     spread ? concat(" ", value(line.least[k]), " ", value(line.most[k])) : "", "\n");
    text += "EOD\n";
    std::string const data = concat(plots.empty() ? "" : ", \\\n  ", "$line", i);
    if (spread)
      plots +=
          concat(data, " using 1:2:3:4 with yerrorbars lc rgb '", look(i).color, "' pt 0 ps 0 notitle, \\\n  $line", i);
    else
      plots += data;
    if (line.is_reference) {
      plots += concat(" using 1:2 with lines lw 1.2 dt 3 lc rgb '#404040' title ", quoted(line.name));
      continue;
    }
    char const* const style = !line.is_joined ? "points" : chart.with_points ? "linespoints" : "lines";
    plots += concat(" using 1:2 with ", style, " lw 2 dt ", look(i).dash, " lc rgb '", look(i).color, "'");
    if (chart.with_points) plots += concat(" pt ", look(i).point, " ps 0.9");
    plots += concat(" title ", quoted(line.name));
  }
  return concat(text, "plot ", plots, "\n");
}

std::string script_of(BandChart const& chart) {
  double least = std::numeric_limits<double>::infinity(), most = 0;
  for (auto const* values : {&chart.x, &chart.y})
    for (double v : *values)
      if (std::isfinite(v) && v > 0) least = std::min(least, v), most = std::max(most, v);
  bool const log = most > 8 * least;
  bool const close = most < 2.5 * least;  // from zero they would be one spot
  least = log ? least / 1.5 : close ? least * 0.85 : 0, most *= log ? 1.5 : 1.15;
  std::string text = head(380);
  text += concat("set xlabel ", quoted(chart.x_axis), " noenhanced\nset ylabel ", quoted(chart.y_axis),
                 " noenhanced\nset key top left Left reverse samplen 3\n");
  text += concat("set xrange [", value(least), ":", value(most), "]\nset yrange [", value(least), ":", value(most),
                 "]\nset size square\nset format '%g'\n");
  if (log) text += "set logscale xy\n";
  text += concat("set samples 200\n$points << EOD\n");
  for (std::size_t i = 0; i < chart.x.size(); ++i) text += concat(value(chart.x[i]), " ", value(chart.y[i]), "\n");
  text += "EOD\nplot '+' using 1:($1*0.9):($1*1.1) with filledcurves lc rgb '#d9d9d9' title 'within 10 %', \\\n";
  text +=
      "  x with lines lw 1.5 dt 1 lc rgb '#404040' title 'equal', \\\n  $points using 1:2 with points pt 7 ps 0.9 lc "
      "rgb '#1f4e79' title 'points'\n";
  return text;
}

std::string script_of(HeatMap const& chart) {
  double least = std::numeric_limits<double>::infinity(), most = -least;
  for (auto const& row : chart.cells)
    for (HeatMap::Cell const& cell : row)
      if (std::isfinite(cell.value)) least = std::min(least, cell.value), most = std::max(most, cell.value);
  auto const columns = static_cast<double>(chart.columns.size()), rows = static_cast<double>(chart.rows.size());
  std::string shaded, hatched, dark, light;  // rows of boxes, and of texts on dark and on light ground
  for (std::size_t r = 0; r < chart.cells.size(); ++r)
    for (std::size_t c = 0; c < chart.cells[r].size(); ++c) {
      HeatMap::Cell const& cell = chart.cells[r][c];
      if (cell.text.empty()) continue;
      std::string const box =
          concat(c, " ", r, " ", value(static_cast<double>(c) - 0.5), " ", value(static_cast<double>(c) + 0.5), " ",
                 value(static_cast<double>(r) - 0.5), " ", value(static_cast<double>(r) + 0.5));
      double const part = most > least ? (cell.value - least) / (most - least) : 0.5;
      if (std::isfinite(cell.value)) {  // from nearly white to dark blue
        auto const mix = [&](double from, double to) { return static_cast<int>(from + part * (to - from)); };
        shaded += concat(box, " ", mix(232, 23) * 65536 + mix(240, 64) * 256 + mix(248, 110), "\n");
      } else {
        hatched += box + "\n";
      }
      (std::isfinite(cell.value) && part > 0.55 ? dark : light) += concat(c, " ", r, " \"", cell.text, "\"\n");
    }
  int const height = 70 + 40 * static_cast<int>(chart.rows.size());
  int const font = chart.columns.size() > 6 ? 10 : 13;
  std::string text =
      concat(head(height), "unset key\nunset grid\nset xlabel ", quoted(chart.x_axis), " noenhanced\nset ylabel ",
             quoted(chart.y_axis), " noenhanced\nset xrange [-0.5:", value(columns - 0.5),
             "]\nset yrange [-0.5:", value(rows - 0.5), "]\n");
  auto const tics = [](std::vector<std::string> const& names) {
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < names.size(); ++i) parts.push_back(concat(quoted(names[i]), " ", i));
    return join(parts, ", ");
  };
  text += concat("set xtics scale 0 (", tics(chart.columns), ")\nset ytics scale 0 (", tics(chart.rows), ")\n");
  std::string const nowhere = "-9 -9 -9 -9 -9 -9 0\n", no_text = "-9 -9 \"\"\n";
  text += concat("$shaded << EOD\n", shaded + nowhere, "EOD\n$hatched << EOD\n", hatched + nowhere,
                 "EOD\n$dark << EOD\n", dark + no_text, "EOD\n$light << EOD\n", light + no_text, "EOD\n");
  return text +
         concat("plot $shaded using 1:2:3:4:5:6:7 with boxxyerror fs solid 1 border rgb '#ffffff' lc rgb variable, ",
                "$hatched using 1:2:3:4:5:6 with boxxyerror fs pattern 4 border rgb '#ffffff' lc rgb '#c8c8c8', ",
                "$dark using 1:2:3 with labels font 'Arial,", font, "' textcolor rgb 'white' noenhanced, ",
                "$light using 1:2:3 with labels font 'Arial,", font, "' textcolor rgb 'black' noenhanced\n");
}

}  // namespace selenite
