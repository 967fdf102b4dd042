#pragma once
#include <string>
#include <vector>

#include "study/driver.hpp"

namespace selenite::app {

/// What a study would run, point by point with its state, and what can't be run and why.
std::string plan_text(Study const& study, std::vector<Point> const& points, std::string const& folder);
/// How many repeats are in each state, and the reason of each that failed.
std::string status_text(Study const& study, std::vector<Point> const& points, std::string const& folder);
/// One line while the driver works; empty if there is nothing to say.
std::string progress_text(Progress const& progress);
std::string summary_text(RunSummary const& summary, std::string const& folder);

}  // namespace selenite::app
