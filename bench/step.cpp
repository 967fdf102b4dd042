// Motive: how near does a whole training step come to what the machine's matrix products alone can do? Both are
// measured in one process in turns, because a shared machine's speed drifts, and the products for about as long as a
// step takes: a matrix unit that keeps its full clock for half a second would be held against a rate that no second of
// work sees. The best moment is printed beside it. The goal: 65 % of the best GEMM rate in bf16, 75 % in fp32.
//   bench_step [config section.key=value ...]     for example bench_step model.preset=gpt2-124m train.micro_batch=4
#include "train/step.hpp"

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "bench/support.hpp"
#include "core/error.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "plan/calibrate.hpp"
#include "plan/plan.hpp"

using namespace selenite;

namespace {

int run(std::vector<std::string> settings) {
  double const start = now();
  settings.insert(settings.begin(),
                  {"model.preset=gpt2-124m", "train.micro_batch=4", "train.global_batch=4", "train.steps=1000"});
  Config const config = resolve(load_config("", settings), 1);
  set_threads(static_cast<int>(config.run.threads));
  ProcessGrid const grid = make_grid(config.layout);
  auto const comm = make_self_comm();
  comm->set_grid(grid);
  StageState stage(config, grid, Rank(0));
  stage.take_memory();
  Executor executor(config.run.backend, 0);
  Ctx ctx(stage.place(), executor, comm.get());
  stage.initialize(ctx);
  std::printf("%s parameters in %s; ready after %.2f s\n",
              format_count(static_cast<double>(make_plan(config, grid, Rank(0), nullptr).parameters)).c_str(),
              format_bytes(static_cast<double>(stage.footprint().total())).c_str(), now() - start);
  std::printf("%5s %10s %14s %14s %8s %14s   seconds by cause\n", "round", "step s", "model GFLOP/s", "GEMM GFLOP/s",
              "ratio", "best moment");
  std::vector<double> ratios;
  for (int round = 0; round < 5; ++round) {
    double const moment = measure_machine(config, *comm, grid, executor).peak_bf16;
    Machine const machine = measure_machine(config, *comm, grid, executor, {.seconds = 1, .mean = true});
    Plan const plan = make_plan(config, grid, Rank(0), &machine);
    ctx.tally() = {};
    double const t = now();
    Progress at{.step = round, .loss_scale = LossScale::initial(config.train)};
    train_step(ctx, stage, at, [&](Micro, Batch& b) { fill(b, config.model.vocab_size); });
    ctx.synchronize();
    double const seconds = now() - t, rate = plan.model_flops / seconds, peak = machine.peak_bf16;
    if (round > 0) ratios.push_back(rate / peak);
    std::printf("%5d %10.2f %14.1f %14.1f %7.1f%% %14.1f  ", round, seconds, rate / 1e9, peak / 1e9, 100 * rate / peak,
                moment / 1e9);
    for (std::size_t i = 0; i < cause_count; ++i)
      std::printf(" %s %.2f (planned %.2f)", std::string(name(static_cast<Cause>(i))).c_str(), ctx.tally().seconds[i],
                  plan.step.seconds[i]);
    std::printf("\n");
    std::fflush(stdout);
  }
  std::sort(ratios.begin(), ratios.end());
  std::printf("median ratio %.1f %% of the best GEMM rate (%s)\n", 100 * ratios[ratios.size() / 2], flops_convention);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (std::exception const& e) {
    std::cerr << "bench_step: " << e.what() << std::endl;
    return 1;
  }
}
