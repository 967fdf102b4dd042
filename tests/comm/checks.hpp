#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "comm/comm.hpp"

// What every backend has to do, as a table that runs on any Comm. Each check is called by all ranks and throws Error
// at the first thing that is wrong: against plain loops over what the ranks are known to hold, to the bit.

namespace selenite {

struct Check {
  char const* name;
  void (*run)(Comm& comm);
};
std::vector<Check> const& checks();

}  // namespace selenite
