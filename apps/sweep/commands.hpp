#pragma once
#include <string>
#include <vector>

namespace selenite::app {

struct SweepOptions {
  std::string study, folder, program;
  bool retry = false, dry_run = false;
};

struct ValidateOptions {
  std::vector<std::string> sets;
  std::string folder;
  bool json = false;
};

/// Each is one subcommand: prints what it has to say and returns the exit code. They throw Error.
int plan_command(SweepOptions const& options);
int run_command(SweepOptions const& options);
int status_command(SweepOptions const& options);
int report_command(SweepOptions const& options);
int validate_command(ValidateOptions const& options);

}  // namespace selenite::app
