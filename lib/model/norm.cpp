#include "model/norm.hpp"

#include "kernels/norm/norm.hpp"

namespace selenite {

NormLayer::NormLayer(std::string const& name, ModelConfig const& model, Recompute recompute,
                     TensorParallel const& tensor)
    : has_bias_(model.norm == NormKind::layernorm && model.bias),
      subtract_mean_(model.norm == NormKind::layernorm),
      keeps_output_(recompute != Recompute::selective),
      eps_(model.norm_eps) {
  weight_.spec = {
      .name = name + ".weight", .shape = {model.hidden}, .init = {Init::Rule::one}, .partial = tensor.partial()};
  bias_.spec = {.name = name + ".bias", .shape = {model.hidden}, .partial = tensor.partial()};
}

void NormLayer::list(ParameterList& parameters) {
  parameters.push_back(&weight_);
  if (has_bias_) parameters.push_back(&bias_);
}

void NormLayer::save(Ctx& ctx, Tensor const& x, Saved& saved) const {
  saved.x = x;
  saved.rstd = ctx.save(DType::fp32, {x.rows()});
  saved.mean = subtract_mean_ ? ctx.save(DType::fp32, {x.rows()}) : Tensor{};
  saved.y = keeps_output_ ? ctx.save(x.dtype(), x.shape()) : Tensor{};
}

Tensor NormLayer::made(Ctx& ctx, Saved const& saved) const {
  Tensor const y = saved.y.defined() ? saved.y : ctx.temporary(saved.x.dtype(), saved.x.shape());
  ctx(Norm{.x = saved.x,
           .y = y,
           .weight = weight_.weight,
           .bias = bias_.weight,
           .mean = saved.mean,
           .rstd = saved.rstd,
           .subtract_mean = subtract_mean_,
           .eps = eps_});
  return y;
}

void NormLayer::backward(Ctx& ctx, Tensor const& dy, Tensor const& residual, Tensor const& dx,
                         Saved const& saved) const {
  ctx(NormBackward{.x = saved.x,
                   .dy = dy,
                   .dx = dx,
                   .weight = weight_.weight,
                   .mean = saved.mean,
                   .rstd = saved.rstd,
                   .residual = residual,
                   .dweight = weight_.gradient,
                   .dbias = bias_.gradient,
                   .subtract_mean = subtract_mean_});
}

}  // namespace selenite
