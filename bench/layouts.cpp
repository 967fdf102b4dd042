// Motive: what does it cost to cut a training over ranks of one machine, where nothing can be gained? One rank with all
// threads against layouts of the same training, in turns, because a shared machine's speed drifts. Shown is where the
// ranks' time goes; where ranks share cores, what waits for another rank, or for a core, counts as what it waits in.
//   bench_layouts [--set section.key=value ...] ["layout.tensor=2 layout.pipe=2 layout.data=2" ...]      thread ranks
//   mpirun -n N bench_layouts [...]     N data-parallel processes, against one of them alone: goal 90 % of N times it
// The goal of eight thread ranks on two cores is 80 % of one rank with two threads.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <mutex>

#include "bench/support.hpp"
#include "core/error.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "plan/plan.hpp"
#include "train/step.hpp"

using namespace selenite;

namespace {

using Settings = std::vector<std::string>;

/// The quick start's model, and a batch that leaves each of eight ranks something to do.
Settings const usual{"model.layers=8",        "model.hidden=320",          "model.heads=4",
                     "model.vocab_size=8192", "model.sequence_length=256", "train.precision=bf16",
                     "train.micro_batch=4",   "train.global_batch=32",     "train.steps=1000"};

struct Measured {
  double seconds = 0;                        ///< of a step
  std::array<double, cause_count> causes{};  ///< shares of the ranks' time
};

/// Mean of a few steps after one to warm up. All ranks of `comm`.
Measured run_steps(Config const& config, Comm& comm) {
  constexpr int steps = 2;
  ProcessGrid const grid = make_grid(config.layout);
  comm.set_grid(grid);
  StageState stage(config, grid, comm.rank());
  stage.take_memory();
  Cpu cpu;
  Ctx ctx(stage.place(), cpu, &comm);
  stage.initialize(ctx);
  Progress at = Progress::initial(config.train);
  auto const load = [&](Micro, Batch& b) { fill(b, config.model.vocab_size); };
  train_step(ctx, stage, at, load);
  ctx.tally() = {};
  comm.barrier();
  double const start = now();
  for (int i = 0; i < steps; ++i) train_step(ctx, stage, at, load);
  comm.barrier();
  Measured m{.seconds = (now() - start) / steps};
  double const of_all = steps * m.seconds * static_cast<double>(comm.world());
  for (std::size_t c = 0; c < cause_count; ++c) m.causes[c] = ctx.tally().seconds[c] / of_all;
  comm.all_reduce(m.causes, Reduction::sum);
  return m;
}

Config config_of(Settings settings, std::string const& layout, std::int64_t world) {
  for (std::string const& s : split(layout, ' '))
    if (!s.empty()) settings.push_back(s);
  return resolve(parse_config("", settings, "bench_layouts"), world);
}
std::int64_t ranks_of(Settings const& settings, std::string const& layout) {
  Config c = parse_config("", settings, "bench_layouts");
  for (std::string const& s : split(layout, ' '))
    if (!s.empty()) set_field(c, s);
  c.layout.data = std::max<std::int64_t>(1, c.layout.data);
  return make_grid(c.layout).world();
}

void print(std::string const& name, Measured const& m, double ratio) {
  std::printf("%-58s %8.3f s %7.1f %%  ", name.c_str(), m.seconds, 100 * ratio);
  for (std::size_t c = 0; c < cause_count; ++c)
    std::printf(" %s %.0f %%", std::string(selenite::name(static_cast<Cause>(c))).c_str(), 100 * m.causes[c]);
  std::printf("\n");
  std::fflush(stdout);
}
double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void compare_threads(Settings const& settings, Settings const& layouts) {
  int const cores = threads();
  std::map<std::string, std::vector<double>> ratios;
  for (int round = 0; round < 5; ++round) {
    double alone = 0;
    for (std::string const& layout : layouts) {
      Measured m;
      std::mutex mutex;
      std::int64_t const world = ranks_of(settings, layout);
      run_threads(world, [&](Comm& comm) {
        Measured const own = run_steps(config_of(settings, layout, world), comm);
        std::lock_guard const lock(mutex);
        if (*comm.rank() == 0) m = own;
      });
      if (layout.empty()) alone = m.seconds;
      ratios[layout].push_back(alone / m.seconds);
      print(layout.empty() ? concat("one rank, ", cores, " threads") : layout, m, alone / m.seconds);
    }
  }
  for (std::string const& layout : layouts)
    if (!layout.empty()) std::printf("median %5.1f %% of one rank: %s\n", 100 * median(ratios[layout]), layout.c_str());
}

void compare_processes(Settings const& settings) {
  auto const comm = make_mpi_comm(), self = make_self_comm();
  std::int64_t const world = comm->world();
  bool const first = *comm->rank() == 0;
  set_threads(1);
  std::vector<double> ratios;
  for (int round = 0; round < 5; ++round) {
    Measured alone;
    comm->barrier();
    if (first) alone = run_steps(config_of(settings, "", 1), *self);
    comm->barrier();
    Measured const all = run_steps(config_of(settings, "", world), *comm);
    if (!first) continue;
    print("one process, one thread", alone, 1);
    ratios.push_back(alone.seconds / all.seconds / static_cast<double>(world));
    print(concat(world, " processes, data parallel"), all, ratios.back());
  }
  if (first)
    std::printf("median %5.1f %% of %lld times one process\n", 100 * median(ratios), static_cast<long long>(world));
}

int run(Settings const& arguments) {
  Settings settings = usual, layouts{""};
  for (std::size_t i = 0; i < arguments.size(); ++i)
    if (arguments[i] == "--set" && i + 1 < arguments.size())
      settings.push_back(arguments[++i]);
    else
      layouts.push_back(arguments[i]);
  if (layouts.size() == 1)
    layouts.insert(
        layouts.end(),
        {"layout.data=8 train.optimizer_sharding=1", "layout.tensor=2 layout.pipe=2 layout.data=2",
         "layout.pipe=4 layout.data=2 train.micro_batch=2", "layout.tensor=2 layout.context=2 layout.data=2"});
  if (started_by_mpi([](char const* name) -> char const* { return std::getenv(name); }))
    compare_processes(settings);
  else
    compare_threads(settings, layouts);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(Settings(argv + 1, argv + argc));
  } catch (std::exception const& e) {
    std::cerr << "bench_layouts: " << e.what() << "\n";
    return 1;
  }
}
