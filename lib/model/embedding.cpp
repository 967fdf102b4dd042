#include "model/embedding.hpp"

#include "kernels/embedding/embedding.hpp"

namespace selenite {

EmbeddingLayer::EmbeddingLayer(ModelConfig const& m, TensorParallel const& tensor, std::uint64_t seed)
    : tensor_(tensor),
      learned_(m.positions == Positions::learned),
      first_row_(m.padded_vocab() / tensor.ranks() * tensor.index()),
      dropout_{m.hidden_dropout, seed, 0, 3} {
  Init const init{Init::Rule::normal, m.init_std};
  tokens_.spec = {.name = tied_name,
                  .shape = {m.padded_vocab(), m.hidden},
                  .cuts = {{0, Axis::tensor}},
                  .init = init,
                  .decay = true,
                  .tied = m.tied_embeddings,
                  .padding = m.padded_vocab() - m.vocab_size};
  positions_.spec = {
      .name = "embedding.positions.weight", .shape = {m.sequence_length, m.hidden}, .init = init, .decay = true};
}

void EmbeddingLayer::list(ParameterList& parameters) {
  parameters.push_back(&tokens_);
  if (learned_) parameters.push_back(&positions_);
}

void EmbeddingLayer::forward(Ctx& ctx, Batch const& batch, Tensor const& x) const {
  // The position comes once into the sum over the tensor ranks: from the first.
  Tensor const position_table = tensor_.index() == 0 ? positions_.weight : Tensor{};
  tensor_.reduce(ctx, x, [&](Tensor const& sum) {
    ctx(Embedding{.ids = batch.tokens,
                  .table = tokens_.weight,
                  .y = sum,
                  .positions = batch.positions,
                  .position_table = position_table,
                  .first_row = first_row_});
  });
  if (batch.active(dropout_).probability > 0)
    ctx(DropoutAdd{.x = x, .y = x, .site = batch.active(dropout_), .tokens = tensor_.places(batch)});
}

void EmbeddingLayer::backward(Ctx& ctx, Batch const& batch, Tensor const& dx) const {
  if (batch.active(dropout_).probability > 0)
    ctx(DropoutBackward{.dy = dx, .dx = dx, .site = batch.active(dropout_), .tokens = tensor_.places(batch)});
  ScopedMark const mark(ctx.scratch());
  ctx(EmbeddingBackward{.ids = batch.tokens,
                        .dy = tensor_.gathered(ctx, dx),
                        .dtable = tokens_.gradient,
                        .positions = batch.positions,
                        .dposition_table = positions_.gradient,
                        .first_row = first_row_});
}

}  // namespace selenite
