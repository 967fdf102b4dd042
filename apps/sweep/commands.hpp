#pragma once
#include <string>
#include <vector>

namespace selenite::app {

struct SweepOptions {
  std::string study, folder, program;
  bool retry = false, dry_run = false, predict = false;
  double timeout_minutes = 0;         ///< of run-point
  std::vector<std::string> launcher;  ///< of run-point
};

/// Each is one subcommand: prints what it has to say and returns the exit code. They throw Error.
int plan_command(SweepOptions const& options);
int run_command(SweepOptions const& options);
int submit_command(SweepOptions const& options);
int status_command(SweepOptions const& options);
int collect_command(SweepOptions const& options);
int report_command(SweepOptions const& options);
/// In a job that submit_command submitted; options.folder is the repeat's.
int run_point_command(SweepOptions const& options);

}  // namespace selenite::app
