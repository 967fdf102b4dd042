#pragma once
#include <atomic>
#include <string>
#include <vector>

#include "study/records.hpp"

namespace selenite {

/// What one repeat of a point is started with, and its limits.
struct ProgramLaunch {
  std::vector<std::string> command;
  std::string folder;          ///< the repeat's: run.json is written here, output.log takes what is printed
  double timeout_seconds = 0;  ///< 0: none
  double grace_seconds = 30;   ///< from a polite end (SIGTERM) to a kill
  int keep_descriptor = -1;    ///< the driver's lock
  bool by_launcher = false;    ///< the command is an mpirun or srun: asked to end, it ends its ranks
};

/// The command that starts a program with its arguments here: by itself for one rank, else under mpirun with `cores`
/// shared out evenly.
std::vector<std::string> local_command(std::vector<std::string> const& program, std::int64_t ranks, std::int64_t cores);

/// How a run ended; pending if it was stopped from outside and is to run again.
struct Outcome {
  Status status = Status::pending;
  std::string reason;
  std::int64_t exit_code = 0;
};
/// Starts the program and waits for its end. When `stop` becomes non-zero it ends the program: politely, and at once
/// when `stop` is two or more.
Outcome run_here(ProgramLaunch const& launch, std::atomic<int> const& stop);

/// What the run record in a folder says of a run that nobody watched to its end: done, or pending.
Outcome outcome_of_records(std::string const& folder);

}  // namespace selenite
