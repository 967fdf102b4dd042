#include "train/balance.hpp"

#include "schedule/stages.hpp"
#include "train/passes.hpp"

namespace selenite {

LayerCosts layer_costs(Config const& config) {
  Config probe = config;  // the first stage has the embedding, the last the head
  probe.model.layers = 3;
  probe.layout = {.data = 1, .pipe = 3, .stages = "1,1,1"};
  probe.train.optimizer_sharding = 0;
  probe.train.recompute_layers = 1;
  probe.train.global_batch = probe.train.micro_batch, probe.train.batch_ramp.clear();
  ProcessGrid const grid({1, 1, 1, 1, probe.layout.pipe});
  auto flops = [&](std::int64_t stage_number) {
    StageState stage(probe, grid, Rank(stage_number));
    Ctx ctx(stage.place(), static_cast<Machine const*>(nullptr));
    forward_pass(ctx, stage, Chunk(0), Micro(0));
    backward_pass(ctx, stage, Chunk(0), Micro(0));
    return ctx.tally().flops;
  };
  double const block = flops(1);
  return {block, flops(0) - block, flops(2) - block};
}

std::vector<std::int64_t> balanced_layers(Config const& config, std::int64_t chunks) {
  LayerCosts const costs = layer_costs(config);
  return balanced_split(std::vector<double>(static_cast<std::size_t>(config.model.layers), costs.block),
                        costs.embedding, costs.head, chunks);
}

}  // namespace selenite
