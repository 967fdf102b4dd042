#include "train/passes.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/adamw/adamw.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/dropout/dropout.hpp"
#include "kernels/reduction/reduction.hpp"
#include "train/lr.hpp"

namespace selenite {

double backward_seed(Config const& c) {
  double const scale = c.train.loss_scale > 0 ? c.train.loss_scale : 1;
  return scale / (static_cast<double>(c.train.global_batch) * static_cast<double>(c.model.sequence_length));
}

namespace {

/// Messages are told apart by the chunk they go to and the micro-batch.
std::int64_t tag(StageState const& stage, std::int64_t to, Micro micro) {
  return to * stage.schedule().micros + *micro;
}
std::size_t slot_of(ChunkState const& chunk, Micro micro) { return static_cast<std::size_t>(*micro) % chunk.slots; }

/// Runs `pass` between the arrival of the output's gradient and the departure of the input's.
template <class Pass>
void backward_with_messages(Ctx& ctx, StageState& stage, Chunk c, Micro micro, Pass&& pass) {
  ChunkState& chunk = stage.chunk(c);
  std::size_t const slot = slot_of(chunk, micro);
  Tensor const& d_output = chunk.d_output[std::min(slot, chunk.d_output.size() - 1)];
  ctx.set_save(chunk.slot[slot]);
  if (d_output.defined())
    ctx(Recv{.data = d_output,
             .from = stage.holder(chunk.number + 1),
             .channel = Channel::backward,
             .tag = tag(stage, chunk.number, micro)});
  if (chunk.d_input.defined()) ctx.finish(Channel::backward);
  pass(chunk, slot, d_output);
  if (chunk.d_input.defined())
    ctx(Send{.data = chunk.d_input,
             .to = stage.holder(chunk.number - 1),
             .channel = Channel::backward,
             .tag = tag(stage, chunk.number - 1, micro)});
}

}  // namespace

void forward_pass(Ctx& ctx, StageState& stage, Chunk c, Micro micro) {
  ChunkState& chunk = stage.chunk(c);
  std::size_t const slot = slot_of(chunk, micro);
  ctx.set_save(chunk.slot[slot]);
  if (chunk.input[slot].defined())
    ctx(Recv{.data = chunk.input[slot],
             .from = stage.holder(chunk.number - 1),
             .channel = Channel::forward,
             .tag = tag(stage, chunk.number, micro)});
  if (chunk.output.defined()) ctx.finish(Channel::forward);
  chunk.model->forward(ctx, chunk.batch[slot], chunk.input[slot], chunk.output, stage.totals, chunk.saved[slot]);
  if (chunk.output.defined())
    ctx(Send{.data = chunk.output,
             .to = stage.holder(chunk.number + 1),
             .channel = Channel::forward,
             .tag = tag(stage, chunk.number + 1, micro)});
}

void backward_pass(Ctx& ctx, StageState& stage, Chunk c, Micro micro) {
  backward_with_messages(ctx, stage, c, micro, [&](ChunkState& chunk, std::size_t slot, Tensor const& d_output) {
    chunk.model->backward(ctx, chunk.batch[slot], d_output, chunk.d_input, backward_seed(stage.config()),
                          chunk.saved[slot]);
    chunk.slot[slot].release(0);
  });
}

void backward_input_pass(Ctx& ctx, StageState& stage, Chunk c, Micro micro) {
  backward_with_messages(ctx, stage, c, micro, [&](ChunkState& chunk, std::size_t slot, Tensor const& d_output) {
    ctx.set_kept(&chunk.slot[slot]);
    chunk.model->backward_input(ctx, chunk.batch[slot], d_output, chunk.d_input, backward_seed(stage.config()),
                                chunk.saved[slot]);
    ctx.set_kept(nullptr);
  });
}

void backward_weight_pass(Ctx& ctx, StageState& stage, Chunk c, Micro micro) {
  ChunkState& chunk = stage.chunk(c);
  std::size_t const slot = slot_of(chunk, micro);
  chunk.model->backward_weight(ctx, chunk.saved[slot]);
  chunk.slot[slot].release(0);
}

namespace {

Tensor run_of(Tensor const& flat, Run const& run) {
  if (!flat.defined()) return {};
  return Tensor(flat.raw() ? flat.raw() + run.begin * size_of(flat.dtype()) : nullptr, flat.dtype(), {run.count},
                flat.device());
}

/// Tensor ranks that hold copies of a key-value head have each the gradient from their own query heads: all heads'
/// gradients, each rank's own alone filled in, are summed.
void sync_copies(Ctx& ctx, StageState& stage) {
  std::int64_t const ranks = stage.grid().size(Axis::tensor);
  for (Parameter* p : stage.parameters()) {
    if (p->spec.cuts.empty() || p->spec.cuts[0].parts == 0 || p->spec.cuts[0].parts == ranks) continue;
    std::int64_t const parts = p->spec.cuts[0].parts, count = p->gradient.count(),
                       own = stage.grid().coord(stage.rank(), Axis::tensor) / (ranks / parts);
    ScopedMark const mark(ctx.scratch());
    Tensor const all = ctx.temporary(DType::fp32, {parts * count}), mine = run_of(all, {own * count, count});
    Tensor const flat = p->gradient.reshaped({count});
    ctx(Fill{.x = all, .value = 0});
    ctx(Cast{.x = flat, .y = mine});
    ctx(AllReduce{.data = all, .group = {Axis::tensor}});
    ctx(Cast{.x = mine, .y = flat});
  }
}

/// First and last stage exchange what they have of a tied parameter's gradient and add it in stage order.
void sync_tied(Ctx& ctx, StageState& stage) {
  auto const [first, last] = stage.grid().ends(stage.rank());
  if (first == last || !stage.config().model.tied_embeddings || (stage.rank() != first && stage.rank() != last)) return;
  bool const at_first = stage.rank() == first;
  for (Parameter* p : stage.parameters()) {
    if (p->spec.name != tied_name) continue;
    ScopedMark const mark(ctx.scratch());
    Tensor const other = ctx.temporary(DType::fp32, p->gradient.shape());
    Rank const peer = at_first ? last : first;
    ctx(Send{.data = p->gradient, .to = peer, .channel = Channel::tied, .tag = 0});
    ctx(Recv{.data = other, .from = peer, .channel = Channel::tied, .tag = 0});
    ctx.finish(Channel::tied);
    ctx(Add{.x = other, .y = p->gradient});  // a sum of two has the same bits in either order
  }
}

}  // namespace

void sync_gradients(Ctx& ctx, StageState& stage) {
  AxisSet const replicas{Axis::context, Axis::expert, Axis::data};
  for (Run const& run : stage.layout().partial_runs)
    ctx(AllReduce{.data = run_of(stage.gradients, run), .group = {Axis::tensor}});
  sync_copies(ctx, stage);
  for (Run const& bucket : stage.layout().buckets)
    ctx(AllReduce{.data = run_of(stage.gradients, bucket), .group = replicas});
  sync_tied(ctx, stage);
  ctx(AllReduce{.data = stage.totals, .group = replicas.with(Axis::pipe)});
}

namespace {

void update(Ctx& ctx, StageState& stage, std::int64_t step, double lr, double decay) {
  TrainConfig const& t = stage.config().train;
  bool const split = stage.master.defined();
  for (Run const& run : stage.layout().decay_runs) {
    Tensor const gradient = run_of(stage.gradients, run), exact = run_of(stage.exact_weights(), run),
                 weight = split ? run_of(stage.weights, run) : Tensor{};
    double const wd = run.decay ? decay : 0;
    if (t.optimizer == OptimizerKind::sgd) {
      ctx(Sgd{.gradient = gradient,
              .master = exact,
              .weight = weight,
              .gradient_scale = stage.gradient_scale,
              .lr = lr,
              .weight_decay = wd});
      continue;
    }
    ctx(AdamW{.gradient = gradient,
              .master = exact,
              .m = run_of(stage.moment1, run),
              .v = run_of(stage.moment2, run),
              .weight = weight,
              .gradient_scale = stage.gradient_scale,
              .lr = lr,
              .beta1 = t.beta1,
              .beta2 = t.beta2,
              .eps = t.eps,
              .weight_decay = wd,
              .step = step});
  }
}

}  // namespace

StepResult optimizer_step(Ctx& ctx, StageState& stage, std::int64_t step, std::int64_t consumed) {
  TrainConfig const& t = stage.config().train;
  ctx.set_optimizer_phase(true);
  ctx(Fill{.x = stage.norm, .value = 0});
  for (Run const& run : stage.layout().counted_runs)
    ctx(SquaredNorm{.x = run_of(stage.gradients, run), .out = stage.norm, .accumulate = true});
  ctx(AllReduce{.data = stage.norm, .group = {Axis::tensor, Axis::pipe}});
  StepResult result;
  result.tokens = ctx.fetch(stage.totals, 1, 1);
  result.loss = ctx.fetch(stage.totals, 0, 0) / std::max(result.tokens, 1.0);
  double const correction = 1 / (backward_seed(stage.config()) * std::max(result.tokens, 1.0));
  result.grad_norm = std::sqrt(ctx.fetch(stage.norm, 1)) * correction;
  result.lr = learning_rate(t, consumed);
  validate(
      std::isfinite(result.loss) && std::isfinite(result.grad_norm), "Step ", step, ": the ",
      std::isfinite(result.loss) ? "gradient norm" : "loss",
      " is not finite (the training diverged, or a rank computes wrongly). Weights and optimizer are as after step ",
      step - 1, ". Lower train.lr or train.clip, lengthen train.warmup, or skip the data.");
  double const clip = t.clip > 0 ? std::min(1.0, t.clip / (result.grad_norm + 1e-6)) : 1;
  ctx.put(stage.gradient_scale, 0, correction * clip);
  update(ctx, stage, step, result.lr, weight_decay(t, consumed));
  ctx(Fill{.x = stage.gradients, .value = 0});
  ctx(Fill{.x = stage.totals, .value = 0});
  ctx.set_optimizer_phase(false);
  return result;
}

}  // namespace selenite
