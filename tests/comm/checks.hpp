#pragma once
#include <ostream>
#include <vector>

#include "comm/comm.hpp"

// What every backend has to do, as a table that runs on any Comm. Each check is called by all ranks and throws Error
// at the first thing that is wrong: against plain loops over what the ranks are known to hold, to the bit.

namespace selenite {

struct Check {
  char const* name;
  void (*run)(Comm& comm);
};
inline std::ostream& operator<<(std::ostream& out, Check const& check) { return out << check.name; }

std::vector<Check> collective_checks();
std::vector<Check> message_checks();

/// The whole table.
inline std::vector<Check> checks() {
  std::vector<Check> all = collective_checks();
  for (Check const& check : message_checks()) all.push_back(check);
  return all;
}

}  // namespace selenite
