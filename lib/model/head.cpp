#include "model/head.hpp"

#include "kernels/cast/cast.hpp"
#include "kernels/cross_entropy/cross_entropy.hpp"
#include "kernels/gemm/gemm.hpp"
#include "model/embedding.hpp"

namespace selenite {
namespace {

/// Row i of a matrix, as a vector.
Tensor row_of(Tensor const& t, std::int64_t i) {
  std::int64_t const bytes = t.cols() * size_of(t.dtype());
  return Tensor(t.raw() ? t.raw() + i * bytes : nullptr, t.dtype(), {t.cols()}, t.device());
}

}  // namespace

Head::Head(ModelConfig const& m, Recompute recompute, TensorParallel const& tensor, Parameter const* tied)
    : tensor_(tensor),
      norm_("final_norm", m, recompute, tensor),
      tied_(tied),
      first_column_(m.padded_vocab() / tensor.ranks() * tensor.index()),
      vocab_size_(m.vocab_size) {
  own_.spec = {.name = m.tied_embeddings ? tied_name : "head.weight",
               .shape = {m.padded_vocab(), m.hidden},
               .cuts = {{0, Axis::tensor}},
               .init = {Init::Rule::normal, m.init_std},
               .decay = true,
               .tied = m.tied_embeddings,
               .second_copy = m.tied_embeddings,
               .padding = m.padded_vocab() - m.vocab_size};
}

void Head::list(ParameterList& parameters) {
  norm_.list(parameters);
  if (!tied_) parameters.push_back(&own_);
}

void Head::forward(Ctx& ctx, Batch const& batch, Tensor const& x, Tensor const& totals, Saved& saved) const {
  std::int64_t const tokens = batch.count();
  saved.logits = ctx.save(x.dtype(), {tokens, matrix().weight.rows()});
  norm_.forward(ctx, x, saved.norm, [&](Tensor const& normed) {
    ctx(Gemm{.a = tensor_.gathered(ctx, normed), .b = matrix().weight, .out = saved.logits, .transpose_b = true});
  });
  saved.logsumexp = ctx.save(DType::fp32, {tokens});
  saved.losses = ctx.save(DType::fp32, {tokens});
  ScopedMark const mark(ctx.scratch());
  Tensor const maximum = ctx.temporary(DType::fp32, {tokens}), sums = ctx.temporary(DType::fp32, {2, tokens}),
               sum = row_of(sums, 0), target = row_of(sums, 1);
  ctx(CrossEntropyStatistics{.logits = saved.logits,
                             .labels = batch.labels,
                             .maximum = maximum,
                             .sum = sum,
                             .target = target,
                             .first_column = first_column_,
                             .vocab_size = vocab_size_});
  Tensor largest = maximum;
  if (tensor_.ranks() > 1) {
    largest = ctx.temporary(DType::fp32, {tokens});
    ctx(Cast{.x = maximum, .y = largest});
    ctx(AllReduce{.data = largest, .group = {Axis::tensor}, .reduction = Reduction::max});
    ctx(CrossEntropyRescale{.maximum = maximum, .sum = sum, .new_maximum = largest});
    ctx(AllReduce{.data = sums, .group = {Axis::tensor}});
  }
  ctx(CrossEntropyLoss{.maximum = largest,
                       .sum = sum,
                       .target = target,
                       .weights = batch.weights,
                       .logsumexp = saved.logsumexp,
                       .losses = saved.losses,
                       .totals = totals});
}

void Head::backward_input(Ctx& ctx, Batch const& batch, Tensor const& dx, double seed, Saved& saved) const {
  ctx(CrossEntropyBackward{.logits = saved.logits,
                           .dlogits = saved.logits,
                           .labels = batch.labels,
                           .weights = batch.weights,
                           .logsumexp = saved.logsumexp,
                           .first_column = first_column_,
                           .vocab_size = vocab_size_,
                           .scale = seed});
  ScopedMark const mark(ctx.scratch());
  Tensor const d_normed = ctx.temporary(dx.dtype(), dx.shape());
  tensor_.reduce(ctx, d_normed,
                 [&](Tensor const& sum) { ctx(Gemm{.a = saved.logits, .b = matrix().weight, .out = sum}); });
  norm_.backward(ctx, d_normed, Tensor{}, dx, saved.norm);
}

void Head::backward_weight(Ctx& ctx, Saved const& saved) const {
  norm_.again(ctx, saved.norm, [&](Tensor const& normed) {
    ctx(Gemm{.a = saved.logits,
             .b = tensor_.gathered(ctx, normed),
             .out = matrix().gradient,
             .transpose_a = true,
             .accumulate = true});
  });
}

}  // namespace selenite
