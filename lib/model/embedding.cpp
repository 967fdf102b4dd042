#include "model/embedding.hpp"

#include "kernels/embedding/embedding.hpp"

namespace selenite {

EmbeddingLayer::EmbeddingLayer(ModelConfig const& m, ProcessGrid const& grid, Rank rank, std::uint64_t seed)
    : learned_(m.positions == Positions::learned),
      first_row_(m.padded_vocab() / grid.size(Axis::tensor) * grid.coord(rank, Axis::tensor)),
      dropout_{m.hidden_dropout, seed, 0, 3} {
  Init const init{Init::Rule::normal, m.init_std};
  tokens_.spec = {.name = "embedding.tokens.weight",
                  .shape = {m.padded_vocab(), m.hidden},
                  .cuts = {{0, Axis::tensor}},
                  .init = init,
                  .decay = true};
  positions_.spec = {
      .name = "embedding.positions.weight", .shape = {m.sequence_length, m.hidden}, .init = init, .decay = true};
}

void EmbeddingLayer::list(ParameterList& parameters) {
  parameters.push_back(&tokens_);
  if (learned_) parameters.push_back(&positions_);
}

void EmbeddingLayer::forward(Ctx& ctx, Batch const& batch, Tensor const& x) const {
  ctx(Embedding{.ids = batch.tokens,
                .table = tokens_.weight,
                .y = x,
                .positions = batch.positions,
                .position_table = positions_.weight,
                .first_row = first_row_});
  if (batch.active(dropout_).probability > 0)
    ctx(DropoutAdd{.x = x, .y = x, .site = batch.active(dropout_), .tokens = batch.token_places()});
}

void EmbeddingLayer::backward(Ctx& ctx, Batch const& batch, Tensor const& dx) const {
  if (batch.active(dropout_).probability > 0)
    ctx(DropoutBackward{.dy = dx, .dx = dx, .site = batch.active(dropout_), .tokens = batch.token_places()});
  ctx(EmbeddingBackward{.ids = batch.tokens,
                        .dy = dx,
                        .dtable = tokens_.gradient,
                        .positions = batch.positions,
                        .dposition_table = positions_.gradient,
                        .first_row = first_row_});
}

}  // namespace selenite
