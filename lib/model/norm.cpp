#include "model/norm.hpp"

#include "kernels/norm/norm.hpp"

namespace selenite {

NormLayer::NormLayer(std::string const& name, ModelConfig const& model, TensorParallel const& tensor)
    : has_bias_(model.norm == NormKind::layernorm && model.bias),
      subtract_mean_(model.norm == NormKind::layernorm),
      eps_(model.norm_eps) {
  weight_.spec = {.name = name + ".weight", .shape = {model.hidden}, .init = {Init::Rule::one}, .partial = tensor.partial()};
  bias_.spec = {.name = name + ".bias", .shape = {model.hidden}, .partial = tensor.partial()};
}

void NormLayer::list(ParameterList& parameters) {
  parameters.push_back(&weight_);
  if (has_bias_) parameters.push_back(&bias_);
}

void NormLayer::forward(Ctx& ctx, Tensor const& x, Tensor const& y, Saved& saved) const {
  saved.rstd = ctx.save(DType::fp32, {x.rows()});
  saved.mean = subtract_mean_ ? ctx.save(DType::fp32, {x.rows()}) : Tensor{};
  ctx(Norm{.x = x,
           .y = y,
           .weight = weight_.weight,
           .bias = bias_.weight,
           .mean = saved.mean,
           .rstd = saved.rstd,
           .subtract_mean = subtract_mean_,
           .eps = eps_});
}

void NormLayer::backward(Ctx& ctx, Tensor const& x, Tensor const& dy, Tensor const& residual, Tensor const& dx,
                         Saved const& saved) const {
  ctx(NormBackward{.x = x,
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
