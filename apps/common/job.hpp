#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "apps/common/command_line.hpp"
#include "comm/comm.hpp"
#include "core/config.hpp"
#include "io/record.hpp"
#include "run/log.hpp"

namespace selenite::app {

/// The options that every executable with a run config shares.
struct RunOptions {
  std::string file;                   ///< the TOML file
  std::vector<std::string> settings;  ///< --set
  bool print_config = false, dry_run = false, list_presets = false;
  std::string calibrate;   ///< --calibrate: a machine file to write
  std::int64_t world = 0;  ///< --world: plan for this many ranks
  void add_to(CommandLine& command);
};

/// The communicator that the config asks for; "auto" is MPI where a launcher started this process.
std::unique_ptr<Comm> make_comm(CommKind kind);

/// Standard error as a sink of the log: lines as they are, progress lines over each other on a terminal and not at all
/// elsewhere.
RunLog::Sink terminal_sink();

/// Prints "[rank 3] program: message" and ends all ranks with code 1: one rank alone can't go on.
[[noreturn]] void report_and_abort(std::string const& program, Comm& comm, std::string const& message);

/// The one skeleton of a run: loads and resolves the config for the job's ranks, prints it if asked, runs `body`,
/// writes run.json, and turns an exception into a message with the rank and its coordinates, exit code 1, and the end
/// of the whole job.
int run_job(std::string const& program, RunOptions const& options, int argc, char** argv,
            std::function<std::string(Config const&, Comm&, RunRecord&, RunLog&)> const& body);

}  // namespace selenite::app
