#pragma once
#include "apps/common/command_line.hpp"

namespace selenite::app {

/// Adds `selenite-sweep search`.
void add_search(CommandLine& line);

}  // namespace selenite::app
