#pragma once
#include <string>

#include "core/machine.hpp"
#include "study/collect.hpp"

namespace selenite {

/// Where a point's prediction lies.
std::string prediction_file(std::string const& study_folder, Point const& point);

/// Why the fullest rank of a feasible point does not fit the machine's memory, or empty; found by sizing every stage.
std::string memory_shortage(Point const& point, Machine const& machine);

/// Walks a feasible point's training with a context that prices, on the machine that its config names ("auto": the one
/// that `run` measured into the study's folder), and writes predicted.json: a record like run.json, with the result
/// "predicted". Throws Error if there is no such machine.
RunResult predict_point(Point const& point, std::string const& study_folder);

}  // namespace selenite
