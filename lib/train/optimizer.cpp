#include "train/optimizer.hpp"

#include <cmath>

#include "kernels/adamw/adamw.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/reduction/reduction.hpp"
#include "train/grad_sync.hpp"
#include "train/lr.hpp"

namespace selenite {

double backward_seed(Config const& c) {
  double const scale = c.train.loss_scale > 0 ? c.train.loss_scale : 1;
  return scale / (static_cast<double>(c.train.global_batch) * static_cast<double>(c.model.sequence_length));
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

StepResult optimizer_step(Ctx& ctx, StageState& stage, std::int64_t step, std::int64_t consumed) {
  TrainConfig const& t = stage.config().train;
  ctx.set_optimizer_phase(true);
  ctx(Fill{.x = stage.norm, .value = 0});
  for (OwnedRun const& run : stage.layout().owned(stage.layout().counted_runs))
    ctx(SquaredNorm{.x = stage.owned(stage.gradients, run), .out = stage.norm, .accumulate = true});
  bool const sharded = stage.layout().shards > 1;
  ctx(AllReduce{.data = stage.norm, .group = sharded ? AxisSet::all() : AxisSet{Axis::tensor, Axis::pipe}});
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
  gather_weights(ctx, stage);
  ctx(Fill{.x = stage.gradients, .value = 0});
  ctx(Fill{.x = stage.totals, .value = 0});
  ctx.set_optimizer_phase(false);
  return result;
}

}  // namespace selenite
