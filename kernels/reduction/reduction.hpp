#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// out[0] (+)= sum of x^2, in double, in an order that depends on the element count alone.
struct SquaredNorm {
  Tensor x;    ///< any float dtype, contiguous
  Tensor out;  ///< fp64 [1]
  bool accumulate = false;
};
void reference(SquaredNorm const& op);
void launch(Cpu& cpu, SquaredNorm const& op);
void launch(Cuda& cuda, SquaredNorm const& op);
Cost cost(SquaredNorm const& op);
std::int64_t workspace(SquaredNorm const& op, std::int64_t budget);
static_assert(Kernel<SquaredNorm>);

}  // namespace selenite
