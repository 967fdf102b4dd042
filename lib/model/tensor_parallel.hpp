#pragma once
#include <algorithm>

#include "core/config.hpp"
#include "exec/ctx.hpp"
#include "model/batch.hpp"

namespace selenite {

/// How the tensor ranks share a layer's tokens (Shoeybi et al. 2019; Korthikanti et al. 2022). Between the cut matrices
/// activations are whole on every tensor rank, or, with sequence parallelism, each rank holds an equal run of the
/// tokens. With one tensor rank nothing is copied and nothing is communicated.
class TensorParallel {
 public:
  TensorParallel() = default;
  TensorParallel(ProcessGrid const& grid, Rank rank, LayoutConfig const& layout)
      : ranks_(grid.size(Axis::tensor)),
        index_(grid.coord(rank, Axis::tensor)),
        sequence_(layout.sequence_parallel && ranks_ > 1),
        overlaps_(std::ranges::count(layout.overlap, "tensor") > 0 && ranks_ > 1) {}

  std::int64_t ranks() const { return ranks_; }
  std::int64_t index() const { return index_; }
  bool sequence() const { return sequence_; }
  /// In backward, sums and gathers go on beside the products that do not need them.
  bool overlaps() const { return overlaps_; }
  /// Rows that this rank holds, between cut matrices, of a batch of so many tokens.
  std::int64_t tokens(std::int64_t whole) const { return sequence_ ? whole / ranks_ : whole; }
  /// Where the rows that this rank holds sit in the training, for dropout's masks.
  TokenPlaces places(Batch const& batch) const;
  /// The axes over which gradients of parameters are partial sums that see only this rank's rows.
  AxisSet partial() const { return sequence_ ? AxisSet{Axis::tensor} : AxisSet{}; }

  /// The rows of all tensor ranks: `x` itself without sequence parallelism, else gathered into a temporary.
  Tensor gathered(Ctx& ctx, Tensor const& x) const;
  void gather(Ctx& ctx, Tensor const& x, Tensor const& all) const {
    ctx(AllGather{.input = x, .output = all, .group = {Axis::tensor}});
  }

  /// What the comm lane is bringing: `data` is there after `done`.
  struct Started {
    Tensor data;
    Event done;
  };
  /// gathered(), begun on the comm lane. The temporary must not be released before it is waited for.
  Started start_gathering(Ctx& ctx, Tensor const& x) const;
  /// Begins on the comm lane what reduce() does last. `partial` is this rank's part of the sum for all tokens: `y`
  /// itself, but with sequence parallelism.
  Event start_sum(Ctx& ctx, Tensor const& partial, Tensor const& y) const;

  /// `y` = the sum over the tensor ranks of what `produce(t)` writes into t [tokens, features]: all of it, or this
  /// rank's rows.
  template <class Produce>
  void reduce(Ctx& ctx, Tensor const& y, Produce&& produce) const {
    if (!sequence_) {
      produce(y);
      if (ranks_ > 1) ctx(AllReduce{.data = y, .group = {Axis::tensor}});
      return;
    }
    ScopedMark const mark(ctx.scratch());
    Tensor const partial_sums = ctx.temporary(y.dtype(), {y.rows() * ranks_, y.cols()});
    produce(partial_sums);
    ctx(ReduceScatter{.input = partial_sums, .output = y, .group = {Axis::tensor}});
  }

 private:
  std::int64_t ranks_ = 1, index_ = 0;
  bool sequence_ = false, overlaps_ = false;
};

}  // namespace selenite
