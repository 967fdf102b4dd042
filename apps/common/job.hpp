#pragma once
#include <atomic>
#include <functional>
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
  std::string print_schedule;  ///< --print-schedule: empty, "true", or an SVG file to write
  std::string trace;           ///< --trace: log.trace, for whom it is easier to type
  std::int64_t world = 0;      ///< --world: plan for this many ranks
  void add_to(CommandLine& command);
};

/// Runs `body` on the ranks of this process: one, of the kind that run.comm says ("auto" is MPI where a launcher
/// started the process), or with "threads" all that the layout of `given` makes (data = 0 is 1 then). Returns the exit
/// code: the largest of the bodies', or that of an abort.
int run_ranks(Config const& given, std::function<int(Comm&)> const& body);

/// All ranks of the job must have the same build and config: throws Error that names the first that differs, and how.
void require_same_job(Comm& comm, Config const& given);

/// Standard error as a sink of the log: lines as they are, progress lines over each other on a terminal and not at all
/// elsewhere.
RunLog::Sink terminal_sink();

/// Prints errors of a program's ranks on standard error: of the ranks of one process the first one's.
class ErrorReport {
 public:
  explicit ErrorReport(std::string program) : program_(std::move(program)) {}
  /// "program: message"; false if another rank of this process was faster.
  bool show(std::string const& message);

 private:
  std::string program_;
  std::atomic<bool> shown_{false};
};
/// "[rank 3 data 1 pipe 0] ", or nothing where a rank is alone.
std::string place_of(Comm const& comm, Config const& config);

/// The one skeleton of a run: loads and resolves the config for the job's ranks, prints it if asked, runs `body` on
/// every rank, writes run.json, and turns an exception into a message with the rank and its coordinates, exit code 1,
/// and the end of the whole job.
int run_job(std::string const& program, RunOptions const& options, int argc, char** argv,
            std::function<std::string(Config const&, Comm&, RunRecord&, RunLog&)> const& body);

}  // namespace selenite::app
