#include "apps/common/job.hpp"

#include <cstdlib>
#include <iostream>
#include <unistd.h>

#include "core/error.hpp"
#include "core/files.hpp"
#include "core/parallel_for.hpp"
#include "plan/calibrate.hpp"
#include "plan/plan.hpp"
#include "run/signals.hpp"

namespace selenite::app {

void RunOptions::add_to(CommandLine& command) {
  command.option("config", file, "TOML file of the run");
  command.repeated("--set", settings, "Change a field: --set section.key=value; may be given several times");
  command.flag("--print-config", print_config, "Print the resolved config as TOML and end");
  command.flag("--dry-run", dry_run, "Print memory by label, FLOPs and expected time without allocating, and end");
  command.option("--world", world, "With --dry-run or --print-config: plan for this many ranks");
  command.option(
      "--calibrate", calibrate,
      "Measure this machine with all ranks of the job, write a machine file and end; runs take it by machine.name");
  command.flag("--list-presets", list_presets, "Print the names of the known models and end");
  command.footer("Fields of the config and their defaults:\n" + describe_fields());
}

std::unique_ptr<Comm> make_comm(CommKind kind) {
  auto environment = [](char const* name) -> char const* { return std::getenv(name); };
  switch (kind) {
    case CommKind::automatic:
      return started_by_mpi(environment) ? make_mpi_comm() : make_self_comm();
    case CommKind::self:
      return make_self_comm();
    case CommKind::mpi:
      return make_mpi_comm();
    case CommKind::threads:
    case CommKind::nccl:
      break;
  }
  throw Error("This run.comm can't be used (this version communicates by MPI, or not at all). Use auto, mpi or self.");
}

RunLog::Sink terminal_sink() {
  bool const terminal = isatty(STDERR_FILENO);
  return [terminal](RunLog::Kind kind, std::string const& text) {
    if (kind == RunLog::Kind::line)
      std::cerr << (terminal ? "\r\033[K" : "") << text << std::endl;
    else if (terminal)
      std::cerr << "\r\033[K" << text << std::flush;
  };
}

namespace {

void finish_record(RunRecord& record, std::string const& result, std::string const& error) {
  record.ended = timestamp();
  record.result = result;
  record.error = error;
  try {
    write_record(std::filesystem::path(record.config.run.folder) / "run.json", record);
  } catch (std::exception const& e) {
    std::cerr << e.what() << std::endl;
  }
}

/// For any number of ranks, on this one. A machine file prices their links, too; "auto" measures this machine as one
/// rank.
void print_plan(Config const& config) {
  auto const alone = make_self_comm();
  Machine const machine = find_machine(config, *alone, ProcessGrid());
  std::cout << describe(make_plan(config, make_grid(config.layout), Rank(0), &machine), config, &machine);
}

std::string place(Comm const& comm, Config const& config) {
  if (comm.world() == 1) return "";
  // a config that was refused has no grid to speak of
  std::string const coords = config.layout.data > 0 ? describe(make_grid(config.layout), comm.rank()) : "";
  return concat("[rank ", comm.rank(), coords.empty() ? "" : " ", coords, "] ");
}

}  // namespace

void report_and_abort(std::string const& program, Comm& comm, std::string const& message) {
  std::cerr << "\n[rank " << *comm.rank() << "] " << program << ": " << message << std::endl;
  comm.abort(1);
  std::_Exit(1);  // GCC does not see that a virtual function never returns
}

int run_job(std::string const& program, RunOptions const& options, int argc, char** argv,
            std::function<std::string(Config const&, Comm&, RunRecord&, RunLog&)> const& body) {
  Config const given = load_config(options.file, options.settings);
  std::unique_ptr<Comm> const comm = make_comm(given.run.comm);
  bool const first = *comm->rank() == 0;
  RunRecord record{.program = program,
                   .command_line = std::vector<std::string>(argv, argv + argc),
                   .config = given,
                   .ranks = comm->world(),
                   .started = timestamp()};
  bool begun = false;
  try {
    Config const config = resolve(given, options.world > 0 ? options.world : comm->world());
    record.config = config;
    if (options.print_config || options.dry_run) {
      if (first && options.print_config) std::cout << to_toml(config);
      if (first && options.dry_run) print_plan(config);
      return 0;
    }
    if (!options.calibrate.empty()) {
      ProcessGrid const grid = make_grid(config.layout);
      comm->set_grid(grid);
      set_threads(static_cast<int>(config.run.threads));
      Machine const machine = calibrate_machine(*comm, grid, config.run.workspace);
      if (first) write_file_atomically(options.calibrate, to_toml(machine));
      return 0;
    }
    SignalGuard const signals;  // before the record says "running", so that no signal leaves it at that
    make_folder(config.run.folder);
    begun = true;
    if (first) write_record(std::filesystem::path(config.run.folder) / "run.json", record);
    RunLog log(first ? std::filesystem::path(config.run.folder) / "log.txt" : std::filesystem::path(),
               first ? terminal_sink() : RunLog::Sink());
    std::string const result = body(config, *comm, record, log);
    if (first) finish_record(record, result, "");
    return 0;
  } catch (std::exception const& e) {
    std::string const message = place(*comm, record.config) + e.what();
    std::cerr << "\n" << program << ": " << message << std::endl;
    if (begun && first) finish_record(record, "failed", message);
    if (comm->world() > 1) comm->abort(1);
    return 1;
  }
}

}  // namespace selenite::app
