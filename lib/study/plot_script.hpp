#pragma once
#include <string>
#include <vector>

namespace selenite {

/// Charts as gnuplot scripts that print SVG. All are 440 units wide, so that they can be read on a
/// telephone, and tell their series apart by pattern, dash and point as well as by colour.

/// How many series of one chart can be told apart.
constexpr std::size_t looks_apart = 9;

struct Series {
  std::string name;
  std::vector<double> values;  ///< one a bar; NaN: none
};

/// Horizontal bars, the first at the top; side by side or stacked.
struct BarChart {
  std::string axis;
  std::vector<std::string> labels;
  std::vector<Series> series;
  bool stacked = false;
  std::vector<Series> marks;        ///< a point in each bar
  std::vector<double> least, most;  ///< spread of the first series, or empty
  Series limits = {};               ///< a dashed line across each bar, or empty
};
std::string script_of(BarChart const& chart);

struct Line {
  std::string name;
  std::vector<double> x, y;
  std::vector<double> least, most;  ///< spread of y, or empty
  bool is_reference = false;        ///< thin, dashed, without points
  bool is_joined = true;            ///< else points alone
};
struct LineChart {
  std::string x_axis, y_axis;
  std::vector<Line> lines;
  bool log_x = false;  ///< base 2, marked at the values
  bool with_points = true;
  bool from_zero = true;
  bool log_y = false;  ///< base 10
};
std::string script_of(LineChart const& chart);

/// Predicted (y) against measured (x), with the line of equality and a band of 10 % either side.
struct BandChart {
  std::string x_axis, y_axis;
  std::vector<std::string> labels;
  std::vector<double> x, y;
};
std::string script_of(BandChart const& chart);

/// Cells shaded by their value, darker for more, with the value in each; a cell without a value is hatched and says
/// why.
struct HeatMap {
  std::string x_axis, y_axis;
  std::vector<std::string> columns, rows;  ///< their names; the first row at the bottom
  struct Cell {
    double value;      ///< NaN: none
    std::string text;  ///< a number, or in one word why there is none; empty: there is no such point
  };
  std::vector<std::vector<Cell>> cells;  ///< [row][column]
};
std::string script_of(HeatMap const& chart);

/// A chart drawn: runs gnuplot with the script in `folder` (<name>.gp, <name>.svg) and returns the SVG element, ready
/// to stand in HTML, its ids made unique by the name. Throws Error if gnuplot is not there (and says what to install)
/// or fails.
std::string draw(std::string const& script, std::string const& name, std::string const& folder);

}  // namespace selenite
