// Motive: what does it cost to cut a training over ranks of one machine, where nothing can be gained? One rank with all
// threads against layouts of the same training, in turns, because a shared machine's speed drifts. Shown is where the
// ranks' time goes; where ranks share cores, what waits for another rank, or for a core, counts as what it waits in.
//   bench_layouts [--set section.key=value ...] ["layout.tensor=2 layout.pipe=2 layout.data=2" ...]      thread ranks
//   mpirun -n N bench_layouts [...]     N data-parallel processes, against one of them alone: goal 90 % of N times it.
//     Beside it stand N trainings of one process each, all at once: what the machine itself gives N busy cores.
// The goal of eight thread ranks on two cores is 80 % of one rank with two threads.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>

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

/// A training whose first step, to warm up, is done.
class Training {
 public:
  Training(Config const& config, Comm& comm)
      : comm_(comm), config_(config), grid_(make_grid(config.layout)), stage_(config_, with_grid(), comm.rank()) {
    stage_.take_memory();
    ctx_.emplace(stage_.place(), cpu_, &comm_);
    stage_.initialize(*ctx_);
    step();
  }
  /// Mean of a few steps. All ranks of the communicator.
  Measured measure(int steps) {
    ctx_->tally() = {};
    comm_.barrier();
    double const start = now();
    for (int i = 0; i < steps; ++i) step();
    comm_.barrier();
    Measured m{.seconds = (now() - start) / steps};
    double const of_all = steps * m.seconds * static_cast<double>(comm_.world());
    for (std::size_t c = 0; c < cause_count; ++c) m.causes[c] = ctx_->tally().seconds[c] / of_all;
    comm_.all_reduce(m.causes, Reduction::sum);
    return m;
  }

 private:
  ProcessGrid const& with_grid() {
    comm_.set_grid(grid_);
    return grid_;
  }
  void step() {
    train_step(*ctx_, stage_, at_, [&](Micro, Batch& b) { fill(b, config_.model.vocab_size); });
  }
  Comm& comm_;
  Config config_;
  ProcessGrid grid_;
  StageState stage_;
  Cpu cpu_;
  std::optional<Ctx> ctx_;
  Progress at_ = Progress::initial(config_.train);
};

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
        Measured const own = Training(config_of(settings, layout, world), comm).measure(2);
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
  constexpr int rounds = 25;
  auto const comm = make_mpi_comm(), self = make_self_comm();
  std::int64_t const world = comm->world();
  bool const first = *comm->rank() == 0;
  set_threads(1);
  Training single(config_of(settings, "", 1), *self), parallel(config_of(settings, "", world), *comm);
  std::vector<double> separate_ratios, ratios;
  for (int round = 0; round < rounds; ++round) {
    Measured alone;
    comm->barrier();
    if (first) alone = single.measure(1);
    comm->barrier();
    Measured const all = parallel.measure(1), own = single.measure(1);
    std::array<double, 1> slowest{own.seconds};
    comm->all_reduce(slowest, Reduction::max);
    if (!first) continue;
    print("one process, one thread", alone, 1);
    separate_ratios.push_back(alone.seconds / slowest[0]);
    print(concat(world, " of them at once, the slowest"), {slowest[0], own.causes}, separate_ratios.back());
    ratios.push_back(alone.seconds / all.seconds / static_cast<double>(world));
    print(concat(world, " processes, data parallel"), all, ratios.back());
  }
  if (first)
    std::printf("median %5.1f %% of %lld times one process; %.1f %% by as many trainings of one process, all at once\n",
                100 * median(ratios), static_cast<long long>(world), 100 * median(separate_ratios));
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
