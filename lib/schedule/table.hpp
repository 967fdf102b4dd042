#pragma once
#include <string>

#include "schedule/schedule.hpp"

namespace selenite {

/// The schedule, a line a stage, with the cell at (row, column) in [brackets]; past the row's end the brackets hold
/// `missing`. Long rows are shown around the column only.
std::string table_with_mark(Schedule const& schedule, std::size_t row, std::size_t column,
                            std::string const& missing = "");

}  // namespace selenite
