#include "model/attention.hpp"

#include <cmath>

#include "kernels/matrix_attention/matrix_attention.hpp"
#include "kernels/rotary/rotary.hpp"
#include "model/branch.hpp"

namespace selenite {

AttentionLayer::AttentionLayer(std::string const& name, LayerId layer, ModelConfig const& m, ProcessGrid const& grid,
                               TensorParallel const& tensor, LayerOptions const& options, std::uint64_t seed)
    : tensor_(tensor),
      norm_(name + ".norm", m, options.recompute, tensor),
      head_dim_(m.head_dim),
      rotary_(m.positions == Positions::rotary),
      rotary_base_(m.rotary_base),
      path_(m.attention),
      keeps_scores_(options.recompute != Recompute::selective),
      context_ranks_(grid.size(Axis::context)),
      ring_(context_ranks_, options.exchange),
      options_(options) {
  std::int64_t const kv_parts = std::min(tensor.ranks(), m.kv_heads);
  heads_ = m.heads / tensor.ranks(), kv_heads_ = m.kv_heads / kv_parts, first_head_ = heads_ * tensor.index();
  std::string const n = name + ".";
  qkv_ = Linear({{n + "q", m.heads * m.head_dim},
                 {n + "k", m.kv_heads * m.head_dim, kv_parts},
                 {n + "v", m.kv_heads * m.head_dim, kv_parts}},
                m.hidden, m.bias, m.init_std, Linear::CutBy::outputs, tensor, options.epilogues);
  projection_ = Linear({{n + "projection", m.hidden}}, m.heads * m.head_dim, m.bias,
                       m.init_std / std::sqrt(2.0 * static_cast<double>(m.layers)), Linear::CutBy::inputs, tensor,
                       options.epilogues);
  auto const number = static_cast<std::uint32_t>(*layer);
  hidden_dropout_ = {m.hidden_dropout, seed, number, 1};
  attention_dropout_ = {m.attention_dropout, seed, number, 0};
}

void AttentionLayer::list(ParameterList& parameters) {
  norm_.list(parameters);
  qkv_.list(parameters);
  projection_.list(parameters);
}

AttentionShape AttentionLayer::shape(Batch const& batch) const {
  return {.samples = batch.samples,
          .queries = batch.sequence,
          .keys = batch.sequence,
          .heads = heads_,
          .kv_heads = kv_heads_,
          .head_dim = head_dim_,
          .causal = true,
          .scale = 1 / std::sqrt(static_cast<double>(head_dim_)),
          .dropout = batch.active(attention_dropout_),
          .first_head = first_head_,
          .library = options_.attention_library,
          .deterministic = options_.deterministic};
}

void AttentionLayer::rotate(Ctx& ctx, Batch const& batch, Tensor const& qkv, bool inverse) const {
  if (!rotary_) return;
  ctx(Rotary{.x = qkv.columns(0, q_width() + kv_width()),
             .positions = batch.positions,
             .head_dim = head_dim_,
             .base = rotary_base_,
             .inverse = inverse});
}

void AttentionLayer::forward(Ctx& ctx, Batch const& batch, Tensor const& x, Tensor const& y, Saved& saved) const {
  std::int64_t const tokens = batch.count();
  saved.qkv = ctx.save(x.dtype(), {tokens, q_width() + 2 * kv_width()});
  norm_.forward(ctx, x, saved.norm, [&](Tensor const& normed) { qkv_.forward(ctx, normed, saved.qkv); });
  rotate(ctx, batch, saved.qkv, false);
  saved.context = ctx.save(x.dtype(), {tokens, q_width()});
  attend(ctx, batch, saved);
  projection_.forward(ctx, saved.context, y);
  add_branch(ctx, tensor_, batch, hidden_dropout_, projection_.bias(), x, y);
}

void AttentionLayer::attend(Ctx& ctx, Batch const& batch, Saved& saved) const {
  AttentionShape const s = shape(batch);
  DType const dtype = saved.qkv.dtype();
  if (path_ == AttentionPath::flash) {
    saved.logsumexp = ctx.save(DType::fp32, {s.samples, s.heads, s.queries});
    if (context_ranks_ > 1) return ring_.forward(ctx, batch, s, saved.qkv, saved.context, saved.logsumexp);
    AttentionPlaces const places = batch.attention_places();
    return ctx(Attention{.shape = s,
                         .q = q_of(saved.qkv),
                         .k = k_of(saved.qkv),
                         .v = v_of(saved.qkv),
                         .out = saved.context,
                         .logsumexp = saved.logsumexp,
                         .query_places = places,
                         .key_places = places,
                         .sample_ids = batch.sample_ids});
  }
  saved.scores = {};
  if (keeps_scores_)
    saved.scores = place_scores(s, dtype, [&](DType d, Shape const& shape) { return ctx.save(d, shape); });
  ScopedMark const mark(ctx.scratch());
  Scores const scores =
      keeps_scores_ ? saved.scores
                    : place_scores(s, dtype, [&](DType d, Shape const& shape) { return ctx.temporary(d, shape); });
  make_scores(ctx, batch, saved.qkv, scores);
  ctx(AttentionValues{.shape = s,
                      .probabilities = scores.dropped.defined() ? scores.dropped : scores.probabilities,
                      .v = v_of(saved.qkv),
                      .out = saved.context});
}

void AttentionLayer::make_scores(Ctx& ctx, Batch const& batch, Tensor const& qkv, Scores const& scores) const {
  AttentionShape const s = shape(batch);
  AttentionPlaces const places = batch.attention_places();
  ctx(AttentionScores{.shape = s, .q = q_of(qkv), .k = k_of(qkv), .scores = scores.probabilities});
  ctx(MaskedSoftmax{.shape = s,
                    .scores = scores.probabilities,
                    .probabilities = scores.probabilities,
                    .dropped = scores.dropped,
                    .query_places = places,
                    .key_places = places,
                    .sample_ids = batch.sample_ids});
}

void AttentionLayer::attend_backward(Ctx& ctx, Batch const& batch, Tensor const& d_context, Saved& saved) const {
  AttentionShape const s = shape(batch);
  Tensor const &qkv = saved.qkv, &d = saved.d_qkv;
  ScopedMark const mark(ctx.scratch());
  if (context_ranks_ > 1) return ring_.backward(ctx, batch, s, qkv, saved.context, saved.logsumexp, d_context, d);
  if (path_ == AttentionPath::flash) {
    AttentionPlaces const places = batch.attention_places();
    Tensor const delta = ctx.temporary(DType::fp32, saved.logsumexp.shape());
    return ctx(AttentionBackward{.shape = s,
                                 .q = q_of(qkv),
                                 .k = k_of(qkv),
                                 .v = v_of(qkv),
                                 .out = saved.context,
                                 .dout = d_context,
                                 .logsumexp = saved.logsumexp,
                                 .delta = delta,
                                 .dq = q_of(d),
                                 .dk = k_of(d),
                                 .dv = v_of(d),
                                 .query_places = places,
                                 .key_places = places,
                                 .sample_ids = batch.sample_ids});
  }
  auto temporary = [&](DType dtype, Shape const& shape) { return ctx.temporary(dtype, shape); };
  Scores scores = saved.scores;
  if (!keeps_scores_) {
    scores = place_scores(s, qkv.dtype(), temporary);
    ctx.set_recomputing(true);
    make_scores(ctx, batch, qkv, scores);
    ctx.set_recomputing(false);
  }
  ctx(MatrixAttentionBackward{.shape = s,
                              .q = q_of(qkv),
                              .k = k_of(qkv),
                              .v = v_of(qkv),
                              .probabilities = scores.probabilities,
                              .dropped = scores.dropped,
                              .dout = d_context,
                              .dscores = temporary(qkv.dtype(), scores.probabilities.shape()),
                              .dq = q_of(d),
                              .dk = k_of(d),
                              .dv = v_of(d)});
}

/// Fills d_projection and d_qkv.
void AttentionLayer::backward_to_qkv(Ctx& ctx, Batch const& batch, Tensor const& dy, Saved& saved) const {
  saved.d_projection = branch_gradient(ctx, tensor_, batch, hidden_dropout_, dy);
  saved.d_qkv = ctx.keep(dy.dtype(), saved.qkv.shape());
  ScopedMark const mark(ctx.scratch());
  Tensor const d_context = ctx.temporary(dy.dtype(), saved.context.shape());
  projection_.backward_input(ctx, saved.d_projection, d_context);
  attend_backward(ctx, batch, d_context, saved);
  rotate(ctx, batch, saved.d_qkv, true);
}

void AttentionLayer::backward_input(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx,
                                    Saved& saved) const {
  backward_to_qkv(ctx, batch, dy, saved);
  ScopedMark const mark(ctx.scratch());
  Tensor const d_normed = ctx.temporary(dy.dtype(), dx.shape());
  qkv_.backward_input(ctx, saved.d_qkv, d_normed);
  norm_.backward(ctx, d_normed, dy, dx, saved.norm);
}

void AttentionLayer::backward_weight(Ctx& ctx, Saved const& saved) const {
  projection_.backward_weight(ctx, saved.context, saved.d_projection);
  norm_.again(ctx, saved.norm, [&](Tensor const& normed) { qkv_.backward_weight(ctx, normed, saved.d_qkv); });
}

void AttentionLayer::backward(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const {
  if (!tensor_.overlaps()) {
    backward_input(ctx, batch, dy, dx, saved);
    return backward_weight(ctx, saved);
  }
  backward_to_qkv(ctx, batch, dy, saved);
  projection_.backward_weight(ctx, saved.context, saved.d_projection);
  ScopedMark const mark(ctx.scratch());
  Tensor const d_normed = ctx.temporary(dy.dtype(), dx.shape());
  norm_.again(ctx, saved.norm, [&](Tensor const& normed) { qkv_.backward(ctx, normed, saved.d_qkv, d_normed); });
  norm_.backward(ctx, d_normed, dy, dx, saved.norm);
}

}  // namespace selenite
