#include "schedule/table.hpp"

#include <algorithm>

#include "core/error.hpp"

namespace selenite {

std::string table_with_mark(Schedule const& schedule, std::size_t row, std::size_t column, std::string const& missing) {
  std::size_t const around = 12;  // a row of two dozen cells fits a terminal's width or two
  std::string text;
  for (std::size_t r = 0; r < schedule.rows.size(); ++r) {
    auto const& cells = schedule.rows[r];
    std::size_t const begin = std::min(column - std::min(column, around), cells.size()),
                      end = std::min(column + around + 1, cells.size());
    text += concat("  stage ", r, ":", begin > 0 ? " ..." : "");
    for (std::size_t i = begin; i < end; ++i) {
      std::string const cell = to_string(cells[i]);
      text += r == row && i == column ? " [" + cell + "]" : " " + cell;
    }
    if (end < cells.size()) text += " ...";
    if (r == row && column >= cells.size()) text += " [" + missing + "]";
    text += "\n";
  }
  return text;
}

}  // namespace selenite
