// Motive: how near does a whole training step come to what the machine's matrix products alone can do? Both are
// measured in one process in turns, each for as long as a step takes, and a step is held against the products before
// and after it: a shared machine's speed drifts (matrix units threefold, from one second to the next). The products of
// all of the model's shapes take turns of a few hundredths of a second, so that none is the best because of its moment.
// The goal: 65 % of the rate of the best shape in bf16, 75 % in fp32.
//   bench_step [config section.key=value ...]     for example bench_step model.preset=gpt2-124m train.micro_batch=4
#include "train/step.hpp"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <optional>

#include "bench/support.hpp"
#include "core/error.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/gemm/gemm.hpp"
#include "plan/calibrate.hpp"
#include "plan/plan.hpp"

using namespace selenite;

namespace {

constexpr int rounds = 9;  // odd: the middle one is the median

/// y = x W^T of the model's linear layers, at the size of a micro-batch.
class Products {
 public:
  Products(Config const& config, Executor& executor) {
    ModelConfig const& m = config.model;
    std::int64_t const tokens = config.train.micro_batch * m.sequence_length, kv = m.kv_heads * m.head_dim;
    struct {
      std::int64_t inputs, outputs;
    } const sizes[] = {{m.hidden, m.heads * m.head_dim + 2 * kv},
                       {m.heads * m.head_dim, m.hidden},
                       {m.hidden, m.ffn_hidden},
                       {m.ffn_hidden, m.hidden},
                       {m.hidden, m.vocab_size}};
    DType const dtype = config.train.precision == Precision::fp32 ? DType::fp32 : DType::bf16;
    std::int64_t bytes = 64 << 20;
    for (auto const& s : sizes) bytes += 4 * (tokens * (s.inputs + s.outputs) + s.inputs * s.outputs) + (3 << 12);
    memory_ = Memory(bytes, Memory::Kind::host);
    arena_.emplace("products", memory_.base(), bytes, Device::cpu);
    ctx_.emplace(Ctx::Place{.grid = ProcessGrid(), .scratch = &*arena_, .workspace_budget = config.run.workspace},
                 executor, nullptr);
    auto const random = [&](Shape shape) {
      Tensor const t = arena_->allocate(dtype, shape);
      (*ctx_)(InitNormal{
          .x = t, .name_hash = static_cast<std::uint64_t>(arena_->mark()), .logical_cols = t.cols(), .std = 1});
      return t;
    };
    for (auto const& s : sizes)
      gemms_.push_back({.a = random({tokens, s.inputs}),
                        .b = random({s.outputs, s.inputs}),
                        .out = arena_->allocate(dtype, {tokens, s.outputs}),
                        .transpose_b = true});
  }
  /// FLOP/s of the best shape, over `seconds` of all of them in turn.
  double rate(double seconds) {
    constexpr double turn = 0.05;
    std::vector<double> flops(gemms_.size()), spent(gemms_.size());
    for (double const begin = now(); now() - begin < seconds;)
      for (std::size_t i = 0; i < gemms_.size(); ++i) {
        double const start = now();
        do (*ctx_)(gemms_[i]), flops[i] += cost(gemms_[i]).flops;
        while (now() - start < turn);
        spent[i] += now() - start;
      }
    double best = 0;
    for (std::size_t i = 0; i < gemms_.size(); ++i) best = std::max(best, flops[i] / spent[i]);
    return best;
  }

 private:
  Memory memory_;
  std::optional<Arena> arena_;
  std::optional<Ctx> ctx_;
  std::vector<Gemm> gemms_;
};

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
  Machine const machine = measure_machine(config, *comm, grid, executor, {.seconds = 1, .mean = true});
  Plan const plan = make_plan(config, grid, Rank(0), &machine);
  std::printf("planned, s:");
  for (std::size_t i = 0; i < cause_count; ++i)
    std::printf(" %s %.2f", std::string(name(static_cast<Cause>(i))).c_str(), plan.step.seconds[i]);
  std::printf("\n%5s %10s %14s %14s %8s   seconds by cause\n", "round", "step s", "model GFLOP/s", "GEMM GFLOP/s",
              "ratio");
  Products products(config, executor);
  products.rate(0.1);
  std::vector<double> ratios;
  double seconds = 2, before = 0;
  for (int round = 0; round <= rounds; ++round) {
    ctx.tally() = {};
    double const t = now();
    Progress at{.step = round, .loss_scale = LossScale::initial(config.train)};
    train_step(ctx, stage, at, [&](Micro, Batch& b) { fill(b, config.model.vocab_size); });
    ctx.synchronize();
    seconds = now() - t;
    double const after = products.rate(seconds), rate = plan.model_flops / seconds, peak = (before + after) / 2;
    before = after;
    if (round == 0) continue;  // a warm-up
    ratios.push_back(rate / peak);
    std::printf("%5d %10.2f %14.1f %14.1f %7.1f%%  ", round, seconds, rate / 1e9, peak / 1e9, 100 * rate / peak);
    for (std::size_t i = 0; i < cause_count; ++i)
      std::printf(" %s %.2f", std::string(name(static_cast<Cause>(i))).c_str(), ctx.tally().seconds[i]);
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
