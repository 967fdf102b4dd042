#include "model/head.hpp"

#include "kernels/cross_entropy/cross_entropy.hpp"
#include "kernels/gemm/gemm.hpp"

namespace selenite {

Head::Head(ModelConfig const& m, ProcessGrid const& grid, Rank rank, Parameter const* tied)
    : norm_("final_norm", m),
      tied_(tied),
      first_column_(m.padded_vocab() / grid.size(Axis::tensor) * grid.coord(rank, Axis::tensor)),
      vocab_size_(m.vocab_size) {
  own_.spec = {.name = "head.weight",
               .shape = {m.padded_vocab(), m.hidden},
               .cuts = {{0, Axis::tensor}},
               .init = {Init::Rule::normal, m.init_std},
               .decay = true};
}

void Head::list(ParameterList& parameters) {
  norm_.list(parameters);
  if (!tied_) parameters.push_back(&own_);
}

void Head::forward(Ctx& ctx, Batch const& batch, Tensor const& x, Tensor const& totals, Saved& saved) const {
  std::int64_t const tokens = x.rows();
  saved.x = x;
  saved.normed = ctx.save(x.dtype(), x.shape());
  norm_.forward(ctx, x, saved.normed, saved.norm);
  saved.logits = ctx.save(x.dtype(), {tokens, matrix().weight.rows()});
  ctx(Gemm{.a = saved.normed, .b = matrix().weight, .out = saved.logits, .transpose_b = true});
  saved.logsumexp = ctx.save(DType::fp32, {tokens});
  saved.losses = ctx.save(DType::fp32, {tokens});
  ScopedMark const mark(ctx.scratch());
  Tensor const maximum = ctx.temporary(DType::fp32, {tokens}), sum = ctx.temporary(DType::fp32, {tokens}),
               target = ctx.temporary(DType::fp32, {tokens});
  ctx(CrossEntropyStatistics{.logits = saved.logits,
                             .labels = batch.labels,
                             .maximum = maximum,
                             .sum = sum,
                             .target = target,
                             .first_column = first_column_,
                             .vocab_size = vocab_size_});
  ctx(CrossEntropyLoss{.maximum = maximum,
                       .sum = sum,
                       .target = target,
                       .weights = batch.weights,
                       .logsumexp = saved.logsumexp,
                       .losses = saved.losses,
                       .totals = totals});
}

void Head::backward(Ctx& ctx, Batch const& batch, Tensor const& dx, double seed, Saved& saved) const {
  ctx(CrossEntropyBackward{.logits = saved.logits,
                           .dlogits = saved.logits,
                           .labels = batch.labels,
                           .weights = batch.weights,
                           .logsumexp = saved.logsumexp,
                           .first_column = first_column_,
                           .vocab_size = vocab_size_,
                           .scale = seed});
  ctx(Gemm{.a = saved.logits, .b = saved.normed, .out = matrix().gradient, .transpose_a = true, .accumulate = true});
  ScopedMark const mark(ctx.scratch());
  Tensor const d_normed = ctx.temporary(dx.dtype(), dx.shape());
  ctx(Gemm{.a = saved.logits, .b = matrix().weight, .out = d_normed});
  norm_.backward(ctx, saved.x, d_normed, Tensor{}, dx, saved.norm);
}

}  // namespace selenite
