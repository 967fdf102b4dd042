#include "train/optimizer.hpp"

#include <cmath>
#include <utility>

#include "kernels/adamw/adamw.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/reduction/reduction.hpp"
#include "train/grad_sync.hpp"
#include "train/lr.hpp"

namespace selenite {

double backward_seed(StageState const& stage) {
  return stage.loss_scale() /
         (static_cast<double>(stage.global_batch()) * static_cast<double>(stage.config().model.sequence_length));
}

namespace {

void update(Ctx& ctx, StageState& stage, std::int64_t step, double lr, double decay) {
  TrainConfig const& t = stage.config().train;
  bool const split = stage.master.defined();
  for (OwnedRun const& run : stage.layout().owned(stage.layout().decay_runs)) {
    Tensor const gradient = stage.owned(stage.gradients, run), exact = stage.owned(stage.exact_weights(), run),
                 weight = split ? stage.owned(stage.weights, run) : Tensor{};
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
              .m = stage.owned(stage.moment1, run),
              .v = stage.owned(stage.moment2, run),
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

StepResult optimizer_step(Ctx& ctx, StageState& stage, Progress const& before) {
  TrainConfig const& t = stage.config().train;
  ctx.set_optimizer_phase(true);
  ctx(Fill{.x = stage.norm, .value = 0});
  for (OwnedRun const& run : stage.layout().owned(stage.layout().counted_runs))
    ctx(SquaredNorm{.x = stage.owned(stage.gradients, run), .out = stage.norm, .accumulate = true});
  bool const sharded = stage.layout().shards > 1;
  ctx(AllReduce{.data = stage.norm, .group = sharded ? AxisSet::all() : AxisSet{Axis::tensor, Axis::pipe}});
  StepResult result{.loss_scale = stage.loss_scale()};
  result.tokens = ctx.fetch(stage.totals, 1, 1);
  result.loss = ctx.fetch(stage.totals, 0, 0) / std::max(result.tokens, 1.0);
  double const correction = 1 / (backward_seed(stage) * std::max(result.tokens, 1.0));
  result.grad_norm = std::sqrt(ctx.fetch(stage.norm, 1)) * correction;
  std::int64_t const scheduled = before.consumed - before.skipped_samples;
  result.lr = learning_rate(t, scheduled);
  result.skipped =
      std::isfinite(result.loss) && !std::isfinite(result.grad_norm) && LossScale::dynamic(t) && result.loss_scale > 1;
  validate(
      result.skipped || (std::isfinite(result.loss) && std::isfinite(result.grad_norm)), "Step ", before.step + 1,
      ": the ", std::isfinite(result.loss) ? "gradient norm" : "loss",
      " is not finite (the training diverged, or a rank computes wrongly). Weights and optimizer are as after step ",
      before.step, ". Lower train.lr or train.clip, lengthen train.warmup, ",
      t.precision == Precision::fp16 ? "train in bf16, whose range is that of fp32, " : "", "or skip the data.");
  double const clip = t.clip > 0 ? std::min(1.0, t.clip / (result.grad_norm + 1e-6)) : 1;
  ctx.put(stage.gradient_scale, 0, correction * clip);
  ctx.wait(std::exchange(stage.copied, {}));
  if (!result.skipped)
    update(ctx, stage, before.step - before.skipped_steps + 1, result.lr, weight_decay(t, scheduled));
  update_scales(ctx, stage);
  gather_weights(ctx, stage);  // in a skipped step too: every step sends the same
  ctx(Fill{.x = stage.gradients, .value = 0});
  ctx(Fill{.x = stage.totals, .value = 0});
  ctx.set_optimizer_phase(false);
  return result;
}

}  // namespace selenite
