#include "apps/common/job.hpp"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <unistd.h>

#include "core/error.hpp"
#include "core/files.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "io/build_info.hpp"
#include "plan/calibrate.hpp"
#include "plan/fit.hpp"
#include "plan/machine_files.hpp"
#include "plan/planned_schedule.hpp"
#include "run/folders.hpp"
#include "run/signals.hpp"
#include "run/trace.hpp"
#include "schedule/draw.hpp"

namespace selenite::app {

void RunOptions::add_to(CommandLine& command) {
  command.option("config", file, "TOML file of the run");
  command.repeated("--set", settings, "Change a field: --set section.key=value; may be given several times");
  command.flag("--print-config", print_config, "Print the resolved config as TOML and end");
  command.flag("--dry-run", dry_run, "Print memory by label, FLOPs and expected time without allocating, and end");
  command.flag(
      "--print-schedule", print_schedule,
      "Print the pipeline's actions, drawn to the times of machine.name's file, and end; --print-schedule=FILE.svg "
      "also writes a picture");
  command.option("--trace", trace, "The same as --set log.trace=...; with --dry-run the planned step is written there");
  command.option("--world", world, "With --dry-run, --print-config or --print-schedule: plan for this many ranks");
  command.flag("--list-presets", list_presets, "Print the names of the known models and end");
  command.footer("Fields of the config and their defaults:\n" + describe_fields());
}

namespace {

char const* environment(char const* name) { return std::getenv(name); }

/// What ranks say to each other from host to host.
std::unique_ptr<Comm> make_control() { return started_by_mpi(environment) ? make_mpi_comm() : make_self_comm(); }

std::unique_ptr<Comm> make_comm(RunConfig const& run) {
  bool const on_devices = run.backend == BackendKind::cuda;
  switch (run.comm) {
    case CommKind::automatic: {
      auto control = make_control();
      return on_devices && control->world() > 1 ? make_nccl_comm(std::move(control)) : std::move(control);
    }
    case CommKind::self:
      return make_self_comm();
    case CommKind::mpi:
      return make_mpi_comm();
    case CommKind::nccl:
      validate(on_devices,
               "run.comm = \"nccl\" can't be used with run.backend = \"cpu\" (NCCL moves device memory only). Use "
               "run.comm = \"auto\" or \"mpi\", or run.backend = \"cuda\".");
      return make_nccl_comm(make_control());
    case CommKind::threads:
      break;
  }
  throw Error(
      "Ranks as threads have no communicator of their process (run_threads makes one for each). This is a defect of "
      "Selenite; please report it.");
}

/// Ranks of a layout that nobody has started: data = 0 leaves one.
std::int64_t ranks_of(LayoutConfig const& l) {
  constexpr double most = 4096;
  auto const product = [](std::initializer_list<std::int64_t> sizes) {
    double p = 1;
    for (std::int64_t n : sizes) p *= static_cast<double>(std::max<std::int64_t>(1, n));
    return p;
  };
  double const ranks = product({l.tensor, l.context, l.expert, l.data, l.pipe});
  validate(ranks <= most, "The layout has ", ranks, " ranks (run.comm = \"threads\" makes each a thread; ", most,
           " at most). Use a smaller layout, or run.comm = \"mpi\".");
  return static_cast<std::int64_t>(ranks);
}

}  // namespace

void require_same_job(Comm& comm, Config const& given) {
  std::int64_t const launched = launched_ranks(environment);
  bool const connected = given.run.comm != CommKind::self && given.run.comm != CommKind::threads;
  validate(!connected || launched == 0 || launched == comm.world(), "The launcher started ", launched,
           " processes, but ", comm.world(),
           " of them can reach each other (it is not of the MPI that this program was built with). Start it by the "
           "mpirun of the MPI that --version names, or by srun --mpi=pmix.");
  BuildInfo const build = build_info();
  require_same(comm, "build",
               concat("version ", build.version, "\ncommit ", build.commit, "\ncompiler ", build.compiler, "\nflags ",
                      build.build_type, " ", build.flags));
  require_same(comm, "config", to_toml(given));
}

int run_ranks(Config const& given, std::function<int(Comm&)> const& body) {
  if (given.run.comm != CommKind::threads) return body(*make_comm(given.run));
  std::atomic<int> code{0};
  try {
    run_threads(ranks_of(given.layout), [&](Comm& comm) {
      int const mine = body(comm);
      for (int seen = code; mine > seen && !code.compare_exchange_weak(seen, mine);) continue;
    });
  } catch (Aborted const& abort) {
    return abort.code;
  }
  return code;
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

/// Times are those of a machine file; to measure a machine for a drawing would take longer than the drawing.
void print_schedule(Config const& config, std::string const& file) {
  std::optional<Machine> machine;
  if (config.machine.name != "auto") machine = named_machine(config.machine.name);
  PlannedSchedule const planned = plan_schedule(config, machine ? &*machine : nullptr);
  if (file != "true") {
    validate(file.ends_with(".svg"), "--print-schedule=", file,
             " is no name of a picture (it is written as SVG). Give a name that ends in .svg.");
    write_file_atomically(file, draw_svg(planned.schedule, planned.played, concat("Schedule of ", title(planned))));
  }
  std::cout << describe(planned);
}

/// The machine that a plan's times are of: a file's, or this one as one rank; none where the plan is for a CUDA device
/// and this machine has none.
std::optional<Machine> planned_machine(Config const& config) {
  if (config.machine.name != "auto") return named_machine(config.machine.name);
  if (config.run.backend == BackendKind::cuda && cuda_devices() == 0) return std::nullopt;
  Executor executor(config.run.backend, 0);
  return find_machine(config, *make_self_comm(), ProcessGrid(), executor);
}

/// What --print-config, --print-schedule and --dry-run ask for, on rank 0, for the job's ranks or any number of them. A
/// machine file prices their links, too; "auto" measures this machine as one rank.
void print(Config const& given, RunOptions const& options) {
  bool const threads = given.run.comm == CommKind::threads;
  // nothing runs: what would move device memory is not needed
  auto const comm = threads || given.run.comm == CommKind::self ? make_self_comm() : make_control();
  std::int64_t const ranks = threads ? ranks_of(given.layout) : comm->world();
  Config const config = resolve(given, options.world > 0 ? options.world : ranks);
  if (*comm->rank() != 0) return;
  if (options.print_config) std::cout << to_toml(config);
  if (!options.print_schedule.empty()) print_schedule(config, options.print_schedule);
  if (!options.dry_run) return;
  std::optional<Machine> const found = planned_machine(config);
  Machine const* const machine = found ? &*found : nullptr;
  Plan const plan = make_plan(config, make_grid(config.layout), Rank(0), machine);
  if (!config.log.trace.empty())
    write_file_atomically(config.log.trace,
                          trace_text(machine ? planned_schedule(plan, *machine) : plan_schedule(config, nullptr)));
  std::cout << describe(plan, config, machine) << std::flush;
  if (!machine || machine->memory_bytes == 0) return;
  require_fit(config, plan.stages[plan.fullest()].footprint, machine->memory_bytes,
              concat(machine->name, " has ", format_bytes(static_cast<double>(machine->memory_bytes))));
}

}  // namespace

bool ErrorReport::show(std::string const& message) {
  if (shown_.exchange(true)) return false;
  std::cerr << concat("\n", program_, ": ", message, "\n") << std::flush;
  return true;
}

std::string place_of(Comm const& comm, Config const& config) {
  if (comm.world() == 1) return "";
  // a config that was refused has no grid to speak of
  std::string const coords = config.layout.data > 0 ? describe(make_grid(config.layout), comm.rank()) : "";
  return concat("[rank ", comm.rank(), coords.empty() ? "" : " ", coords, "] ");
}

int run_job(std::string const& program, RunOptions const& options, int argc, char** argv,
            std::function<std::string(Config const&, Comm&, RunRecord&, RunLog&)> const& body) {
  std::vector<std::string> settings = options.settings;
  if (!options.trace.empty()) settings.push_back("log.trace=" + options.trace);
  Config const given = load_config(options.file, settings);
  if (options.print_config || options.dry_run || !options.print_schedule.empty()) return print(given, options), 0;
  SignalGuard const signals;  // before the record says "running", so that no signal leaves it at that
  ErrorReport errors(program);
  return run_ranks(given, [&](Comm& comm) {
    bool const first = *comm.rank() == 0;
    RunRecord record{.program = program,
                     .command_line = std::vector<std::string>(argv, argv + argc),
                     .config = given,
                     .ranks = comm.world(),
                     .started = timestamp()};
    bool begun = false;
    std::vector<FileLock> locks;
    try {
      require_same_job(comm, given);
      Config const config = resolve(given, comm.world());
      record.config = config;
      std::filesystem::path const folder = config.run.folder;
      RunLog log(folder / "log.txt", terminal_sink(), first);
      if (first) locks = claim_folders(config, log);
      comm.barrier();  // nobody touches what another job may be writing
      begun = true;
      if (first) write_record(folder / "run.json", record);
      std::string const result = body(config, comm, record, log);
      if (first) finish_record(record, result, "");
      return 0;
    } catch (Stopped const&) {
      throw;
    } catch (std::exception const& e) {
      std::string const message = place_of(comm, record.config) + message_of(e);
      bool const shown = errors.show(message);
      if (begun && shown && (first || given.run.comm == CommKind::threads)) finish_record(record, "failed", message);
      if (comm.world() > 1) comm.abort(1);
      return 1;
    }
  });
}

}  // namespace selenite::app
