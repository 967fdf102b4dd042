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
};
std::string script_of(BarChart const& chart);

struct Line {
  std::string name;
  std::vector<double> x, y;
  std::vector<double> least, most;  ///< spread of y, or empty
};
struct LineChart {
  std::string x_axis, y_axis;
  std::vector<Line> lines;
  bool log_x = false;  ///< base 2, marked at the values
  bool with_points = true;
  bool from_zero = true;
};
std::string script_of(LineChart const& chart);

/// Predicted (y) against measured (x), with the line of equality and a band of 10 % either side.
struct BandChart {
  std::string x_axis, y_axis;
  std::vector<std::string> labels;
  std::vector<double> x, y;
};
std::string script_of(BandChart const& chart);

/// A chart drawn: runs gnuplot with the script in `folder` (<name>.gp, <name>.svg) and returns the SVG element, ready
/// to stand in HTML, its ids made unique by the name. Throws Error if gnuplot is not there (and says what to install)
/// or fails.
std::string draw(std::string const& script, std::string const& name, std::string const& folder);

}  // namespace selenite
