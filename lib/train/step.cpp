#include "train/step.hpp"

#include "kernels/cast/cast.hpp"

namespace selenite {

std::int64_t first_sample(Config const& config, ProcessGrid const& grid, Rank rank, std::int64_t consumed,
                          Micro micro) {
  return consumed + (*micro * grid.size(Axis::data) + grid.coord(rank, Axis::data)) * config.train.micro_batch;
}

void load_batch(Ctx& ctx, ChunkState& chunk, Micro micro, LoadBatch const& load) {
  std::size_t const slot = static_cast<std::size_t>(*micro) % chunk.slots;
  HostBatch& host = chunk.host[slot];
  ctx.wait_on_host(host.uploaded);
  load(micro, host.batch);
  Batch const& device = chunk.batch[slot];
  host.uploaded = ctx.on(Lane::load, host.released, [&] {
    for (Tensor Batch::*t : {&Batch::tokens, &Batch::labels, &Batch::weights, &Batch::positions, &Batch::places,
                             &Batch::document_starts, &Batch::token_samples, &Batch::sample_ids})
      if ((device.*t).defined()) ctx.upload(host.batch.*t, device.*t);
  });
  ctx.wait(host.uploaded);
}

namespace {
/// The passes of a micro-batch are given: its slot may be loaded again behind them.
void release_batch(Ctx& ctx, ChunkState& chunk, Micro micro) {
  chunk.host[static_cast<std::size_t>(*micro) % chunk.slots].released = ctx.now_on_lane();
}
}  // namespace

StepResult train_step(Ctx& ctx, StageState& stage, Progress& at, LoadBatch const& load, Announce const& announce) {
  StepResult result;
  stage.begin_step(at);
  for (Action const& action : stage.schedule().rows[static_cast<std::size_t>(*stage.stage())]) {
    if (announce) announce(action);
    ChunkState& chunk = stage.chunk(action.chunk);
    switch (action.what) {
      case What::forward:
        load_batch(ctx, chunk, action.micro, load);
        forward_pass(ctx, stage, action.chunk, action.micro);
        break;
      case What::backward:
        backward_pass(ctx, stage, action.chunk, action.micro);
        release_batch(ctx, chunk, action.micro);
        break;
      case What::backward_input:
        backward_input_pass(ctx, stage, action.chunk, action.micro);
        break;
      case What::backward_weight:
        backward_weight_pass(ctx, stage, action.chunk, action.micro);
        release_batch(ctx, chunk, action.micro);
        break;
      case What::sync:
        sync_gradients(ctx, stage);
        break;
      case What::step:
        result = optimizer_step(ctx, stage, at);
        break;
    }
  }
  at.step += 1, at.consumed += stage.global_batch();
  if (result.skipped) at.skipped_steps += 1, at.skipped_samples += stage.global_batch();
  at.loss_scale.see(stage.config().train, result.skipped);
  return result;
}

StepResult evaluate_batches(Ctx& ctx, StageState& stage, std::int64_t micros, LoadBatch const& load) {
  ctx(Fill{.x = stage.totals, .value = 0});
  Schedule const passes = forward_only(stage.schedule().stages, stage.schedule().chunks, micros);
  for (Action const& action : passes.rows[static_cast<std::size_t>(*stage.stage())]) {
    ChunkState& chunk = stage.chunk(action.chunk);
    std::size_t const slot = static_cast<std::size_t>(*action.micro) % chunk.slots;
    load_batch(ctx, chunk, action.micro, load);
    chunk.batch[slot].dropout = false;
    forward_pass(ctx, stage, action.chunk, action.micro);
    release_batch(ctx, chunk, action.micro);
    chunk.batch[slot].dropout = true;
    chunk.slot[slot].release(0);
  }
  ctx.finish(Channel::forward);
  ctx(AllReduce{.data = stage.totals, .group = {Axis::context, Axis::expert, Axis::data, Axis::pipe}});
  StepResult result;
  result.tokens = ctx.fetch(stage.totals, 1, 1);
  result.loss = ctx.fetch(stage.totals, 0, 0) / std::max(result.tokens, 1.0);
  ctx(Fill{.x = stage.totals, .value = 0});
  if (stage.fp8.used()) ctx(Fill{.x = stage.fp8.amax, .value = 0});  // training scales by what training sees
  return result;
}

}  // namespace selenite
