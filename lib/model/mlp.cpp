#include "model/mlp.hpp"

#include <cmath>

#include "model/branch.hpp"

namespace selenite {

MlpLayer::MlpLayer(std::string const& name, LayerId layer, ModelConfig const& m, TensorParallel const& tensor,
                   LayerOptions const& options, std::uint64_t seed)
    : tensor_(tensor),
      norm_(name + ".norm", m, options.recompute, tensor),
      kind_(static_cast<ActivationKind>(m.activation)),
      keeps_activated_(options.recompute != Recompute::selective),
      ffn_(m.ffn_hidden / tensor.ranks()),
      dropout_{m.hidden_dropout, seed, static_cast<std::uint32_t>(*layer), 2} {
  std::string const n = name + ".";
  bool const gated = kind_ == ActivationKind::swiglu;
  up_width_ = gated ? 2 * ffn_ : ffn_;
  std::vector<Linear::Part> parts;
  if (gated) parts.push_back({n + "gate", m.ffn_hidden});
  parts.push_back({n + "up", m.ffn_hidden});
  up_ = Linear(parts, m.hidden, m.bias, m.init_std, Linear::CutBy::outputs, tensor, options.epilogues);
  down_ = Linear({{n + "down", m.hidden}}, m.ffn_hidden, m.bias,
                 m.init_std / std::sqrt(2.0 * static_cast<double>(m.layers)), Linear::CutBy::inputs, tensor,
                 options.epilogues);
}

void MlpLayer::list(ParameterList& parameters) {
  norm_.list(parameters);
  up_.list(parameters);
  down_.list(parameters);
}

void MlpLayer::forward(Ctx& ctx, Batch const& batch, Tensor const& x, Tensor const& y, Saved& saved) const {
  std::int64_t const tokens = batch.count();
  saved.up = ctx.save(x.dtype(), {tokens, up_width_});
  saved.activated = keeps_activated_ ? ctx.save(x.dtype(), {tokens, ffn_}) : Tensor{};
  auto const multiply_up = [&](Tensor const& activated) {
    norm_.forward(ctx, x, saved.norm, [&](Tensor const& normed) {
      if (fuses())
        up_.forward_gelu(ctx, normed, saved.up, activated);
      else
        up_.forward(ctx, normed, saved.up);
    });
  };
  // a temporary that the product fills comes before it; then (selective recomputation) what norm saves is not in
  // scratch
  bool const placed_first = fuses() && !keeps_activated_;
  if (!placed_first) multiply_up(saved.activated);
  ScopedMark const mark(ctx.scratch());
  Tensor const activated = place_of_activated(ctx, saved);
  if (placed_first) multiply_up(activated);
  if (!fuses()) ctx(Activation{.kind = kind_, .x = saved.up, .y = activated});
  down_.forward(ctx, activated, y);
  add_branch(ctx, tensor_, batch, dropout_, down_.bias(), x, y);
}

Tensor MlpLayer::place_of_activated(Ctx& ctx, Saved const& saved) const {
  return saved.activated.defined() ? saved.activated : ctx.temporary(saved.up.dtype(), {saved.up.rows(), ffn_});
}

Tensor MlpLayer::activate(Ctx& ctx, Saved const& saved) const {
  Tensor const y = place_of_activated(ctx, saved);
  ctx(Activation{.kind = kind_, .x = saved.up, .y = y});
  return y;
}

/// Fills d_down and d_up.
void MlpLayer::backward_to_up(Ctx& ctx, Batch const& batch, Tensor const& dy, Saved& saved) const {
  saved.d_down = branch_gradient(ctx, tensor_, batch, dropout_, dy);
  saved.d_up = ctx.keep(dy.dtype(), saved.up.shape());
  if (fuses()) return down_.backward_input_gelu(ctx, saved.d_down, saved.up, saved.d_up);
  ScopedMark const mark(ctx.scratch());
  Tensor const d_activated = ctx.temporary(dy.dtype(), {saved.up.rows(), ffn_});
  down_.backward_input(ctx, saved.d_down, d_activated);
  ctx(ActivationBackward{.kind = kind_, .x = saved.up, .dy = d_activated, .dx = saved.d_up});
}

void MlpLayer::backward_weight_of_down(Ctx& ctx, Saved const& saved) const {
  ScopedMark const mark(ctx.scratch());
  down_.backward_weight(ctx, keeps_activated_ ? saved.activated : activate(ctx, saved), saved.d_down);
}

void MlpLayer::backward_input(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const {
  backward_to_up(ctx, batch, dy, saved);
  ScopedMark const mark(ctx.scratch());
  Tensor const d_normed = ctx.temporary(dy.dtype(), dx.shape());
  up_.backward_input(ctx, saved.d_up, d_normed);
  norm_.backward(ctx, d_normed, dy, dx, saved.norm);
}

void MlpLayer::backward_weight(Ctx& ctx, Saved const& saved) const {
  backward_weight_of_down(ctx, saved);
  norm_.again(ctx, saved.norm, [&](Tensor const& normed) { up_.backward_weight(ctx, normed, saved.d_up); });
}

void MlpLayer::backward(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const {
  if (!tensor_.overlaps()) {
    backward_input(ctx, batch, dy, dx, saved);
    return backward_weight(ctx, saved);
  }
  backward_to_up(ctx, batch, dy, saved);
  backward_weight_of_down(ctx, saved);
  ScopedMark const mark(ctx.scratch());
  Tensor const d_normed = ctx.temporary(dy.dtype(), dx.shape());
  norm_.again(ctx, saved.norm, [&](Tensor const& normed) { up_.backward(ctx, normed, saved.d_up, d_normed); });
  norm_.backward(ctx, d_normed, dy, dx, saved.norm);
}

}  // namespace selenite
