#include "model/tensor_parallel.hpp"

namespace selenite {

TokenPlaces TensorParallel::places(Batch const& batch) const {
  TokenPlaces const all = batch.token_places();
  if (!sequence_) return all;
  std::int64_t const rows = tokens(batch.count());
  auto part = [&](Tensor const& t) {
    return Tensor(t.raw() ? t.raw() + index_ * rows * size_of(t.dtype()) : nullptr, t.dtype(), {rows}, t.device());
  };
  return {part(all.samples), part(all.places)};
}

Tensor TensorParallel::gathered(Ctx& ctx, Tensor const& x) const {
  if (!sequence_) return x;
  Tensor const all = ctx.temporary(x.dtype(), {x.rows() * ranks_, x.cols()});
  gather(ctx, x, all);
  return all;
}

TensorParallel::Started TensorParallel::start_gathering(Ctx& ctx, Tensor const& x) const {
  if (!sequence_) return {x, {}};
  Tensor const all = ctx.temporary(x.dtype(), {x.rows() * ranks_, x.cols()});
  return {all, ctx.on(Lane::comm, [&] { gather(ctx, x, all); })};
}

Event TensorParallel::start_sum(Ctx& ctx, Tensor const& partial, Tensor const& y) const {
  return ctx.on(Lane::comm, [&] {
    if (sequence_)
      ctx(ReduceScatter{.input = partial, .output = y, .group = {Axis::tensor}});
    else
      ctx(AllReduce{.data = y, .group = {Axis::tensor}});
  });
}

}  // namespace selenite
