#include "train/grad_sync.hpp"

#include "kernels/cast/cast.hpp"
#include "kernels/dropout/dropout.hpp"

namespace selenite {
namespace {

constexpr AxisSet replicas{Axis::context, Axis::expert, Axis::data};

Tensor owned_gradient(StageState const& stage, Bucket const& bucket) {
  Run const part = stage.layout().shard_of(bucket, stage.layout().shard);
  return stage.owned(stage.gradients, {part.begin, bucket.begin / stage.layout().shards, part.count, false});
}

/// Where the sum of a bucket's gradients is to be: all of it, or this rank's part.
Tensor destination(StageState const& stage, std::size_t b) {
  BucketState const& state = stage.buckets[b];
  if (stage.layout().shards == 1) return state.gradient;
  return state.arrived.defined() ? state.arrived : owned_gradient(stage, stage.layout().buckets[b]);
}
/// The part of `whole`, a bucket's elements, that this rank owns; all with one shard.
Tensor owned_part(StageState const& stage, Tensor const& whole) {
  std::int64_t const part = whole.count() / stage.layout().shards;
  return run_of(whole, stage.layout().shard * part, part);
}

void start(Ctx& ctx, StageState& stage, std::size_t b) {
  BucketState& state = stage.buckets[b];
  state.started = true;
  bool const narrow = state.travelling.defined();
  if (narrow) ctx(Cast{.x = state.gradient, .y = state.travelling});
  if (stage.grid().size(replicas) > 1) ctx.other_program({.gradients = static_cast<double>(state.gradient.count())});
  Tensor const gradient = narrow ? state.travelling : state.gradient,
               sum = narrow ? owned_part(stage, state.travelling) : destination(stage, b);
  state.reduced = ctx.on(stage.overlaps_gradients() ? Lane::comm : Lane::compute, [&] {
    if (stage.layout().shards == 1)
      ctx(AllReduce{.data = gradient, .group = replicas});
    else
      ctx(ReduceScatter{.input = gradient, .output = sum, .group = replicas});
  });
}

/// The sum is where it is to be after this.
void land(Ctx& ctx, StageState& stage, std::size_t b) {
  BucketState& state = stage.buckets[b];
  ctx.wait(state.reduced);
  if (state.travelling.defined()) ctx(Cast{.x = owned_part(stage, state.travelling), .y = destination(stage, b)});
  state.started = false;
}

/// Sharded gradients: what has arrived is added to the owned part, and the bucket's memory is free for another.
void finish(Ctx& ctx, StageState& stage, std::size_t b) {
  land(ctx, stage, b);
  BucketState& state = stage.buckets[b];
  ctx(Add{.x = state.arrived, .y = owned_gradient(stage, stage.layout().buckets[b])});
  ctx(Fill{.x = state.gradient, .value = 0});
}

/// Tensor ranks that hold copies of a key-value head have each the gradient from their own query heads: all heads'
/// gradients, each rank's own alone filled in, are summed.
void sync_copies(Ctx& ctx, StageState& stage) {
  std::int64_t const ranks = stage.grid().size(Axis::tensor);
  for (std::size_t i = 0; i < stage.parameters().size(); ++i) {
    Param const& p = stage.parameters()[i]->spec;
    if (p.cuts.empty() || p.cuts[0].parts == 0 || p.cuts[0].parts == ranks) continue;
    for (OwnedRun const& run : stage.layout().owned({stage.layout().parameter(i)})) {
      std::int64_t const parts = p.cuts[0].parts,
                         own = stage.grid().coord(stage.rank(), Axis::tensor) / (ranks / parts);
      ScopedMark const mark(ctx.scratch());
      Tensor const all = ctx.temporary(DType::fp32, {parts * run.count}),
                   mine = run_of(all, own * run.count, run.count), gradient = stage.owned(stage.gradients, run);
      ctx(Fill{.x = all, .value = 0});
      ctx(Cast{.x = gradient, .y = mine});
      ctx(AllReduce{.data = all, .group = {Axis::tensor}});
      ctx(Cast{.x = mine, .y = gradient});
    }
  }
}

/// First and last stage exchange what they have of a tied parameter's gradient and add it in stage order.
void sync_tied(Ctx& ctx, StageState& stage) {
  auto const [first, last] = stage.grid().ends(stage.rank());
  if (first == last || (stage.rank() != first && stage.rank() != last)) return;
  Rank const peer = stage.rank() == first ? last : first;
  for (std::size_t i = 0; i < stage.parameters().size(); ++i) {
    if (!stage.parameters()[i]->spec.tied) continue;
    for (OwnedRun const& run : stage.layout().owned({stage.layout().parameter(i)})) {
      ScopedMark const mark(ctx.scratch());
      Tensor const other = ctx.temporary(DType::fp32, {run.count}), gradient = stage.owned(stage.gradients, run);
      ctx(Send{.data = gradient, .to = peer, .channel = Channel::tied, .tag = 0});
      ctx(Recv{.data = other, .from = peer, .channel = Channel::tied, .tag = 0});
      ctx.finish(Channel::tied);
      ctx(Add{.x = other, .y = gradient});  // a sum of two has the same bits in either order
    }
  }
}

}  // namespace

bool gradients_leave(StageState const& stage, Micro micro) {
  return stage.shards_gradients() || (stage.overlaps_gradients() && *micro + 1 == stage.schedule().micros);
}

void gradients_done(Ctx& ctx, StageState& stage, Chunk c, Micro micro, std::size_t first) {
  if (!gradients_leave(stage, micro)) return;
  bool const every_pass = stage.shards_gradients();
  ChunkState& chunk = stage.chunk(c);
  for (std::size_t& b = chunk.buckets_left; b > chunk.first_bucket;) {
    if (stage.layout().buckets[b - 1].first < chunk.first_parameter + first) break;
    start(ctx, stage, --b);
    if (!every_pass) continue;
    stage.in_flight.push_back(b);
    while (stage.in_flight.size() >= stage.bucket_memories()) {
      finish(ctx, stage, stage.in_flight.front());
      stage.in_flight.pop_front();
    }
  }
  if (first > 0) return;
  for (std::size_t const b : stage.in_flight) finish(ctx, stage, b);
  stage.in_flight.clear();
  chunk.buckets_left = chunk.last_bucket;
}

void sync_gradients(Ctx& ctx, StageState& stage) {
  for (std::size_t b = stage.buckets.size(); b-- > 0 && !stage.shards_gradients();) {
    if (!stage.buckets[b].started) start(ctx, stage, b);
    if (!stage.overlaps_gradients()) land(ctx, stage, b);
  }
  for (std::size_t b = stage.buckets.size(); b-- > 0;)
    if (stage.buckets[b].started) land(ctx, stage, b);
  for (OwnedRun const& run : stage.layout().owned(stage.layout().partial_runs))
    ctx(AllReduce{.data = stage.owned(stage.gradients, run), .group = {Axis::tensor}});
  sync_copies(ctx, stage);
  sync_tied(ctx, stage);
  ctx(AllReduce{.data = stage.totals, .group = replicas.with(Axis::pipe)});
}

void publish_weights(Ctx& ctx, StageState& stage) {
  FlatLayout const& layout = stage.layout();
  if (stage.master.defined())
    for (OwnedRun const& run : layout.owned({{0, layout.elements, false}}))
      ctx(Cast{.x = stage.owned(stage.master, run), .y = stage.owned(stage.weights, run)});
  restore_scales(ctx, stage);
  gather_weights(ctx, stage);
}

namespace {

void gather(Ctx& ctx, StageState& stage, std::size_t b) {
  FlatLayout const& layout = stage.layout();
  stage.buckets[b].changed = true;
  if (layout.shards == 1) return;
  stage.buckets[b].gathered = ctx.on(stage.overlaps_parameters() ? Lane::comm : Lane::compute, [&] {
    Bucket const& bucket = layout.buckets[b];
    ctx(AllGather{.input = run_of(stage.weights, layout.shard_of(bucket, layout.shard)),
                  .output = run_of(stage.weights, bucket.begin, bucket.count),
                  .group = replicas});
  });
}

}  // namespace

void gather_weights(Ctx& ctx, StageState& stage) {
  for (std::size_t b = 0; b < stage.buckets.size(); ++b) {
    gather(ctx, stage, b);
    if (!stage.overlaps_parameters()) round_weights(ctx, stage, b);
  }
}

void await_weights(Ctx& ctx, StageState& stage, Chunk c, std::size_t end) {
  ChunkState const& chunk = stage.chunk(c);
  for (std::size_t b = chunk.first_bucket; b < chunk.last_bucket; ++b) {
    if (stage.layout().buckets[b].first >= chunk.first_parameter + end) break;
    ctx.wait(stage.buckets[b].gathered);
    round_weights(ctx, stage, b);
  }
}

bool weights_under_way(StageState const& stage, Chunk c) {
  if (!stage.overlaps_parameters() || stage.layout().shards == 1) return false;
  ChunkState const& chunk = stage.chunk(c);
  for (std::size_t b = chunk.first_bucket; b < chunk.last_bucket; ++b)
    if (stage.buckets[b].changed) return true;
  return false;
}

}  // namespace selenite
