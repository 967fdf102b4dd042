#pragma once
#include "apps/common/command_line.hpp"

namespace selenite::app {

/// Adds `selenite-sweep validate`.
void add_validate(CommandLine& line);

}  // namespace selenite::app
