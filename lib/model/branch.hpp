#pragma once
#include "model/tensor_parallel.hpp"

namespace selenite {

// What the two branches of a block share: y = x + dropout(branch + bias), on the rows that this rank holds.

/// y = x + dropout(y + bias), in place over the branch's output.
inline void add_branch(Ctx& ctx, TensorParallel const& tensor, Batch const& batch, DropoutSite const& site,
                       Tensor const& bias, Tensor const& x, Tensor const& y) {
  ctx(DropoutAdd{
      .x = y, .residual = x, .y = y, .bias = bias, .site = batch.active(site), .tokens = tensor.places(batch)});
}

/// The gradient of the branch's output for all tokens, from dy on this rank's rows; kept for backward_weight.
inline Tensor branch_gradient(Ctx& ctx, TensorParallel const& tensor, Batch const& batch, DropoutSite const& site,
                              Tensor const& dy) {
  bool const drops = batch.active(site).probability > 0;
  if (!drops && !tensor.sequence()) return dy;
  Tensor const all = ctx.keep(dy.dtype(), {batch.count(), dy.cols()});
  ScopedMark const mark(ctx.scratch());
  Tensor dropped = dy;
  if (drops) {
    dropped = tensor.sequence() ? ctx.temporary(dy.dtype(), dy.shape()) : all;
    ctx(DropoutBackward{.dy = dy, .dx = dropped, .site = site, .tokens = tensor.places(batch)});
  }
  if (tensor.sequence()) tensor.gather(ctx, dropped, all);
  return all;
}

}  // namespace selenite
