#include "train/step.hpp"

#include "kernels/cast/cast.hpp"

namespace selenite {

std::int64_t first_sample(Config const& config, ProcessGrid const& grid, Rank rank, std::int64_t consumed,
                          Micro micro) {
  return consumed + (*micro * grid.size(Axis::data) + grid.coord(rank, Axis::data)) * config.train.micro_batch;
}

StepResult train_step(Ctx& ctx, StageState& stage, std::int64_t step, std::int64_t consumed, LoadBatch const& load,
                      Announce const& announce) {
  auto const& row = stage.schedule().rows[static_cast<std::size_t>(stage.grid().coord(stage.rank(), Axis::pipe))];
  std::size_t const slots = stage.slot_count();
  std::vector<GptChunk::Saved> saved(slots);
  StepResult result;
  for (Action const& action : row) {
    if (announce) announce(action);
    std::size_t const slot =
        static_cast<std::size_t>(*action.micro) % slots;  // micro-batches are freed in the order they came
    switch (action.what) {
      case What::forward:
        load(action.micro, stage.batch(slot));
        forward_pass(ctx, stage, slot, saved[slot]);
        break;
      case What::backward:
        backward_pass(ctx, stage, slot, saved[slot]);
        break;
      case What::sync:
        sync_gradients(ctx, stage);
        break;
      case What::step:
        result = optimizer_step(ctx, stage, step, consumed);
        break;
    }
  }
  return result;
}

StepResult evaluate_batches(Ctx& ctx, StageState& stage, std::int64_t micros, LoadBatch const& load) {
  ctx(Fill{.x = stage.totals, .value = 0});
  GptChunk::Saved saved;
  for (std::int64_t i = 0; i < micros; ++i) {
    load(Micro(i), stage.batch(0));
    stage.batch(0).dropout = false;
    forward_pass(ctx, stage, 0, saved);
    stage.batch(0).dropout = true;
    stage.slot(0).release(0);
  }
  ctx(AllReduce{.data = stage.totals, .group = {Axis::context, Axis::expert, Axis::data}});
  StepResult result;
  result.tokens = ctx.fetch(stage.totals, 1, 1);
  result.loss = ctx.fetch(stage.totals, 0, 0) / std::max(result.tokens, 1.0);
  ctx(Fill{.x = stage.totals, .value = 0});
  return result;
}

}  // namespace selenite
