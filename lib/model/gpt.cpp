#include "model/gpt.hpp"

#include <algorithm>

#include "kernels/cast/cast.hpp"

namespace selenite {

GptChunk::GptChunk(Config const& c, ProcessGrid const& grid, Rank rank, ChunkSpec spec, DType dtype,
                   Parameter const* tied)
    : model_(c.model), spec_(spec), tensor_(grid, rank, c.layout), dtype_(dtype) {
  auto const seed = static_cast<std::uint64_t>(c.train.seed);
  if (c.train.recompute == Recompute::full) recompute_ = static_cast<std::size_t>(c.train.recompute_layers);
  if (spec.embedding) embedding_ = EmbeddingLayer(c.model, tensor_, seed);
  for (std::int64_t i = 0; i < spec.count; ++i)
    blocks_.emplace_back(LayerId(spec.first + i), c.model, grid, tensor_, layer_options(c), seed);
  Parameter const* const shared = spec.embedding ? &embedding_.tokens() : tied;
  if (spec.head) head_ = Head(c.model, c.train.recompute, tensor_, c.model.tied_embeddings ? shared : nullptr);
  ParameterList list;
  if (spec.embedding) embedding_.list(list);
  for (Block& b : blocks_) starts_.push_back(list.size()), b.list(list);
  starts_.push_back(list.size());
  if (spec.head) head_.list(list);
  starts_.push_back(list.size());
}

ParameterList GptChunk::parameters() {
  ParameterList list;
  if (spec_.embedding) embedding_.list(list);
  for (Block& b : blocks_) b.list(list);
  if (spec_.head) head_.list(list);
  return list;
}

void GptChunk::forward(Ctx& ctx, Batch const& batch, Tensor const& input, Tensor const& output, Tensor const& totals,
                       Saved& saved, ParameterNews const& about_to_read) const {
  saved.blocks.resize(blocks_.size());
  saved.x.resize(blocks_.size() + 1);
  saved.x[0] = !spec_.embedding ? input : only_embeds() ? output : ctx.save(dtype_, boundary(batch));
  about_to_read(starts_[0]);
  if (spec_.embedding) embedding_.forward(ctx, batch, saved.x[0]);
  if (passes_on()) ctx(Cast{.x = input, .y = output});
  std::size_t const together = recomputes() ? recompute_ : 1;
  for (std::size_t i = 0; i < blocks_.size(); i += together) {
    std::size_t const last = std::min(i + together, blocks_.size());
    about_to_read(starts_[last]);
    Tensor const out = last == blocks_.size() && !spec_.head ? output : ctx.save(dtype_, boundary(batch));
    if (recomputes()) {
      Ctx::SavingTo const scratch(ctx, ctx.scratch());
      ScopedMark const mark(ctx.scratch());
      forward_blocks(ctx, batch, i, last, out, saved);
    } else {
      forward_blocks(ctx, batch, i, last, out, saved);
    }
  }
  about_to_read(starts_.back());
  if (spec_.head) head_.forward(ctx, batch, saved.x.back(), totals, saved.head);
}

void GptChunk::forward_blocks(Ctx& ctx, Batch const& batch, std::size_t first, std::size_t last, Tensor const& output,
                              Saved& saved) const {
  for (std::size_t i = first; i < last; ++i) {
    saved.x[i + 1] = i + 1 == last ? output : ctx.save(dtype_, boundary(batch));
    blocks_[i].forward(ctx, batch, saved.x[i], saved.x[i + 1], saved.blocks[i]);
  }
}

void GptChunk::forward_again(Ctx& ctx, Batch const& batch, std::size_t first, std::size_t last, Saved& saved) const {
  Tensor const kept = saved.x[last];
  Tensor const output = ctx.temporary(dtype_, boundary(batch));  // known already; a block always writes one
  ctx.set_recomputing(true);
  forward_blocks(ctx, batch, first, last, output, saved);
  ctx.set_recomputing(false);
  saved.x[last] = kept;
}

void GptChunk::backward(Ctx& ctx, Batch const& batch, Tensor const& d_output, Tensor const& d_input, double seed,
                        Saved& saved, ParameterNews const& done) const {
  ScopedMark const mark(ctx.scratch());
  Tensor dx = ctx.temporary(dtype_, boundary(batch)), other = ctx.temporary(dtype_, boundary(batch));  // in turns
  Tensor dy = d_output;
  if (spec_.head) {
    dy = is_only_head() ? d_input : other;
    head_.backward_input(ctx, batch, dy, seed, saved.head);
    head_.backward_weight(ctx, saved.head);
  }
  if (passes_on()) ctx(Cast{.x = d_output, .y = d_input});
  done(starts_[blocks_.size()]);
  std::size_t const together = recomputes() ? recompute_ : 1;
  for (std::size_t last = blocks_.size(); last > 0;) {
    std::size_t const first = (last - 1) / together * together;
    ScopedMark const again(ctx.scratch());
    Ctx::SavingTo const scratch(ctx, ctx.scratch());
    if (recomputes()) forward_again(ctx, batch, first, last, saved);
    for (std::size_t i = last; i-- > first;) {
      if (i == 0 && !spec_.embedding) dx = d_input;
      blocks_[i].backward(ctx, batch, dy, dx, saved.blocks[i]);
      done(starts_[i]);
      dy = dx;
      std::swap(dx, other);
    }
    last = first;
  }
  if (!spec_.embedding) return;
  embedding_.backward(ctx, batch, dy);
  done(0);
}

void GptChunk::backward_input(Ctx& ctx, Batch const& batch, Tensor const& d_output, Tensor const& d_input, double seed,
                              Saved& saved) const {
  saved.dx.assign(blocks_.size() + 1, d_output);
  if (spec_.head) {
    saved.dx.back() = is_only_head() ? d_input : ctx.keep(dtype_, boundary(batch));
    head_.backward_input(ctx, batch, saved.dx.back(), seed, saved.head);
  }
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    saved.dx[i] = i == 0 && !spec_.embedding ? d_input : ctx.keep(dtype_, boundary(batch));
    blocks_[i].backward_input(ctx, batch, saved.dx[i + 1], saved.dx[i], saved.blocks[i]);
  }
  if (passes_on()) ctx(Cast{.x = d_output, .y = d_input});
  if (spec_.embedding) embedding_.backward(ctx, batch, saved.dx[0]);
}

void GptChunk::backward_weight(Ctx& ctx, Saved& saved, ParameterNews const& done) const {
  if (spec_.head) head_.backward_weight(ctx, saved.head);
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    done(starts_[i + 1]);
    blocks_[i].backward_weight(ctx, saved.blocks[i]);
  }
  done(0);
}

}  // namespace selenite
