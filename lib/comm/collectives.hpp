#pragma once
#include <concepts>

#include "core/cost.hpp"
#include "core/grid.hpp"
#include "core/tensor.hpp"

namespace selenite {

enum class Reduction : std::uint8_t { sum, max };

/// data = reduction of all ranks' data, in place. Sums are added in rank order in fp32 (fp64 for fp64), so that the
/// result has the same bits on all ranks and in every run.
struct AllReduce {
  Tensor data;  ///< contiguous; fp32, fp64 or bf16
  AxisSet group;
  Reduction reduction = Reduction::sum;
};
/// output = the inputs of all ranks, one after the other in group order.
struct AllGather {
  Tensor input, output;  ///< contiguous; output holds group-size times the input's elements
  AxisSet group;
};
/// output = this rank's piece of the sum of all inputs; the pieces are equal and in group order.
struct ReduceScatter {
  Tensor input, output;  ///< contiguous; input holds group-size times the output's elements
  AxisSet group;
};
/// data of the group's rank `root` (an index in the group) goes to all.
struct Broadcast {
  Tensor data;
  AxisSet group;
  std::int64_t root = 0;
};

/// Cost::bytes is the size of the whole message: of the reduced or gathered tensor.
Cost cost(AllReduce const& op);
Cost cost(AllGather const& op);
Cost cost(ReduceScatter const& op);
Cost cost(Broadcast const& op);

template <class Op>
concept Collective = requires(Op const& op) {
  { cost(op) } -> std::same_as<Cost>;
  { op.group } -> std::convertible_to<AxisSet>;
};
static_assert(Collective<AllReduce> && Collective<AllGather> && Collective<ReduceScatter> && Collective<Broadcast>);

}  // namespace selenite
