#pragma once
#include <string>
#include <vector>

#include "study/slurm.hpp"

namespace selenite::app {

/// What a study would run, point by point with its state, and what can't be run and why.
std::string plan_text(Study const& study, std::vector<Point> const& points, std::string const& folder);
/// How many repeats are in each state, and the reason of each that failed.
std::string status_text(Study const& study, std::vector<Point> const& points, std::string const& folder);
/// One line while the driver works; empty if there is nothing to say.
std::string progress_text(StudyEvent const& progress);
/// The commands that would submit the study, and the script that each element of an array runs.
std::string jobs_text(Study const& study, std::vector<Point> const& points, SubmitOptions const& options);
std::string submitted_text(Submitted const& submitted, std::string const& folder);
/// One line: step time, MFU and memory that are predicted for a point.
std::string prediction_text(Point const& point, RunResult const& run);
std::string summary_text(RunSummary const& summary, std::string const& folder);

}  // namespace selenite::app
