#include "model/gpt.hpp"

namespace selenite {

GptChunk::GptChunk(ModelConfig const& model, ProcessGrid const& grid, Rank rank, ChunkSpec spec, DType dtype,
                   std::uint64_t seed)
    : model_(model), spec_(spec), dtype_(dtype) {
  if (spec.embedding) embedding_ = EmbeddingLayer(model, grid, rank, seed);
  for (std::int64_t i = 0; i < spec.count; ++i) blocks_.emplace_back(LayerId(spec.first + i), model, grid, seed);
  if (spec.head)
    head_ = Head(model, grid, rank, model.tied_embeddings && spec.embedding ? &embedding_.tokens() : nullptr);
}

ParameterList GptChunk::parameters() {
  ParameterList list;
  if (spec_.embedding) embedding_.list(list);
  for (Block& b : blocks_) b.list(list);
  if (spec_.head) head_.list(list);
  return list;
}

void GptChunk::forward(Ctx& ctx, Batch const& batch, Tensor const& input, Tensor const& output, Tensor const& totals,
                       Saved& saved) const {
  saved.blocks.resize(blocks_.size());
  saved.x.resize(blocks_.size() + 1);
  Shape const shape{batch.count(), model_.hidden};
  saved.x[0] = spec_.embedding ? ctx.save(dtype_, shape) : input;
  if (spec_.embedding) embedding_.forward(ctx, batch, saved.x[0]);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    saved.x[i + 1] = i + 1 == blocks_.size() && !spec_.head ? output : ctx.save(dtype_, shape);
    blocks_[i].forward(ctx, batch, saved.x[i], saved.x[i + 1], saved.blocks[i]);
  }
  if (spec_.head) head_.forward(ctx, batch, saved.x.back(), totals, saved.head);
}

void GptChunk::backward(Ctx& ctx, Batch const& batch, Tensor const& d_output, Tensor const& d_input, double seed,
                        Saved& saved) const {
  ScopedMark const mark(ctx.scratch());
  Shape const shape{batch.count(), model_.hidden};
  Tensor dx = ctx.temporary(dtype_, shape), other = ctx.temporary(dtype_, shape);  // change places after every block
  Tensor dy = d_output;
  if (spec_.head) {
    dy = other;
    head_.backward(ctx, batch, dy, seed, saved.head);
  }
  for (std::size_t i = blocks_.size(); i-- > 0;) {
    if (i == 0 && !spec_.embedding) dx = d_input;
    blocks_[i].backward(ctx, batch, dy, dx, saved.blocks[i]);
    dy = dx;
    std::swap(dx, other);
  }
  if (spec_.embedding) embedding_.backward(ctx, batch, dy);
}

}  // namespace selenite
