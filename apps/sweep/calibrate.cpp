#include "apps/sweep/calibrate.hpp"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <unistd.h>

#include "apps/common/job.hpp"
#include "core/files.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "exec/choose_executor.hpp"
#include "plan/calibrate.hpp"

namespace selenite::app {
namespace {

struct CalibrateOptions {
  std::string file, config;
  std::vector<std::string> settings;
};

std::string speed(RateCurve const& curve, char const* unit) {
  auto const [slowest, fastest] = std::ranges::minmax(curve.rates);
  return concat(format_count(slowest), " to ", format_count(fastest), unit);
}

std::string summary(Machine const& m, std::int64_t ranks, std::string const& file) {
  std::string text =
      concat("Measured with ", ranks, ranks == 1 ? " rank" : " ranks at once, of each", ":\n  gemm       fp32 ",
             speed(m.gemm_fp32, "FLOP/s"), ", bf16 ", speed(m.gemm_bf16, "FLOP/s"), "\n  attention  fp32 ",
             speed(m.attention_fp32, "FLOP/s"), ", bf16 ", speed(m.attention_bf16, "FLOP/s"), "\n  memory     ",
             speed(m.stream, "B/s"), "\n");
  if (m.draw_rate > 0) text += concat("  dropout    ", format_count(m.draw_rate), " decisions/s in bf16 attention\n");
  if (ranks > 1)
    text += concat("  all-reduce ", speed(m.all_reduce, "B/s"), "\n  all-gather ", speed(m.all_gather, "B/s"),
                   "\n  messages   ", speed(m.ring_shift, "B/s"), "\n");
  return text + concat("Written to ", file, ". Runs and predictions take it by machine.name = \"", file, "\".\n");
}

void measure(CalibrateOptions const& o, Config const& config, Comm& comm) {
  ProcessGrid const grid = make_grid(config.layout);
  comm.set_grid(grid);
  if (config.run.threads > 0) set_threads(static_cast<int>(config.run.threads));
  Executor executor = choose_executor(config.run, comm);
  Machine const machine = calibrate_machine(comm, grid, config.run.workspace, executor);
  if (*comm.rank() != 0) return;
  write_file_atomically(o.file, to_toml(machine));
  std::cout << summary(machine, comm.world(), o.file) << std::flush;
}

int calibrate_command(CalibrateOptions const& o) {
  Config const given = load_config(o.config, o.settings);
  std::filesystem::path const folder = std::filesystem::absolute(o.file).parent_path();
  validate(access(folder.c_str(), W_OK) == 0, "Can't write ", o.file, " (", folder.string(),
           " is missing or not writable). Give another path.");
  ErrorReport errors("selenite-sweep");
  return run_ranks(given, [&](Comm& comm) {
    try {
      require_same_job(comm, given);
      measure(o, resolve(given, comm.world()), comm);
      return 0;
    } catch (Stopped const&) {
      throw;
    } catch (std::exception const& e) {
      errors.show(place_of(comm, given) + e.what());
      if (comm.world() > 1) comm.abort(1);
      return 1;
    }
  });
}

}  // namespace

void add_calibrate(CommandLine& line) {
  auto const o = std::make_shared<CalibrateOptions>();
  auto sub = line.subcommand("calibrate",
                             "Measure this machine with all ranks of the job (start it as a training is started, by "
                             "mpirun or srun) and write a machine file",
                             [o] { return calibrate_command(*o); });
  sub.option("file", o->file, "The machine file to write", true);
  sub.option("--config", o->config, "A config of selenite-pretrain, whose [run] says on what is measured");
  sub.repeated("--set", o->settings, "Change a field: --set run.backend=cuda; may be given several times");
}

}  // namespace selenite::app
