#pragma once
#include <string>

#include "schedule/play.hpp"

namespace selenite {

/// The played schedule as text: a line a stage, time to the right, the shortest pass one column wide; a pass is its
/// letter and micro-batch (letter, chunk and micro-batch where there are chunks), then "-" to its end; idle is ".".
std::string draw(Schedule const& schedule, Played const& played);
/// The same as a self-contained SVG picture: boxes to scale, coloured by what and shaded by chunk, with the number of
/// the micro-batch where it fits, an axis in units of the shortest pass, and a legend.
std::string draw_svg(Schedule const& schedule, Played const& played, std::string const& title = "Pipeline schedule");

}  // namespace selenite
