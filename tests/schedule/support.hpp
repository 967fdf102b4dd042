#pragma once
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>

#include "core/error.hpp"
#include "schedule/play.hpp"
#include "tests/contains.hpp"

namespace selenite {

/// What the Error says that `body` throws; empty if it throws none.
std::string message_of(auto const& body) {
  try {
    body();
  } catch (Error const& e) {
    return e.what();
  }
  return "";
}

inline std::string golden_path(std::string const& name) { return "tests/golden/schedules/" + name + ".txt"; }
inline std::string golden(std::string const& name) {
  std::ifstream in(golden_path(name));
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The schedule with all passes of a row `row` but those that `gone` names.
Schedule without(Schedule schedule, std::size_t row, auto const& gone) {
  std::erase_if(schedule.rows[row], [&](Action a) { return gone(to_string(a)); });
  return schedule;
}

}  // namespace selenite
