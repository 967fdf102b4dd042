#include "model/block.hpp"

namespace selenite {

Block::Block(LayerId layer, ModelConfig const& model, ProcessGrid const& grid, TensorParallel const& tensor,
             LayerOptions const& options, std::uint64_t seed)
    : attention_(concat("layers.", layer, ".attention"), layer, model, grid, tensor, options, seed),
      mlp_(concat("layers.", layer, ".mlp"), layer, model, tensor, options, seed) {}

void Block::list(ParameterList& parameters) {
  attention_.list(parameters);
  mlp_.list(parameters);
}

void Block::forward(Ctx& ctx, Batch const& batch, Tensor const& x, Tensor const& y, Saved& saved) const {
  saved.middle = ctx.save(x.dtype(), x.shape());
  attention_.forward(ctx, batch, x, saved.middle, saved.attention);
  mlp_.forward(ctx, batch, saved.middle, y, saved.mlp);
}

void Block::backward(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const {
  ScopedMark const mark(ctx.scratch());
  Tensor const d_middle = ctx.temporary(dy.dtype(), dy.shape());
  {
    ScopedMark const kept(ctx.scratch());
    mlp_.backward(ctx, batch, dy, d_middle, saved.mlp);
  }
  attention_.backward(ctx, batch, d_middle, dx, saved.attention);
}

void Block::backward_input(Ctx& ctx, Batch const& batch, Tensor const& dy, Tensor const& dx, Saved& saved) const {
  saved.d_middle = ctx.keep(dy.dtype(), dy.shape());
  mlp_.backward_input(ctx, batch, dy, saved.d_middle, saved.mlp);
  attention_.backward_input(ctx, batch, saved.d_middle, dx, saved.attention);
}

void Block::backward_weight(Ctx& ctx, Saved const& saved) const {
  mlp_.backward_weight(ctx, saved.mlp);
  attention_.backward_weight(ctx, saved.attention);
}

}  // namespace selenite
