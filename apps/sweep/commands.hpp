#pragma once
#include "apps/common/command_line.hpp"

namespace selenite::app {

/// plan, run, submit, status, collect and report of a study, and run-point, which submit's jobs call.
void add_studies(CommandLine& line);

}  // namespace selenite::app
