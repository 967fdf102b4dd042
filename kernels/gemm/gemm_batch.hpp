#pragma once
#include "kernels/gemm/gemm.hpp"

namespace selenite {

/// Products of one shape. The matrices of each lie so many elements behind those of the one before; 0: all read the
/// same. Outputs do not overlap.
struct GemmBatch {
  std::int64_t count = 1;
  std::int64_t a = 0, b = 0, out = 0;
};

/// `first` and the products behind it at once.
void launch(Cuda& cuda, Gemm const& first, GemmBatch const& batch);

}  // namespace selenite
