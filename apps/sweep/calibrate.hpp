#pragma once
#include "apps/common/command_line.hpp"

namespace selenite::app {

/// Adds the subcommand that measures this machine.
void add_calibrate(CommandLine& line);

}  // namespace selenite::app
