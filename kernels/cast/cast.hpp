#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// y = x in y's dtype, rounded to nearest even. Between fp64, fp32, bf16 and fp16; rows may be strided. A plain copy if
/// the dtypes are equal (any dtype).
struct Cast {
  Tensor x, y;
};
void reference(Cast const& op);
void launch(Cpu& cpu, Cast const& op);
void launch(Cuda& cuda, Cast const& op);
Cost cost(Cast const& op);
std::int64_t workspace(Cast const& op, std::int64_t budget);
static_assert(Kernel<Cast>);

/// Every element = value.
struct Fill {
  Tensor x;
  double value = 0;
};
void reference(Fill const& op);
void launch(Cpu& cpu, Fill const& op);
void launch(Cuda& cuda, Fill const& op);
Cost cost(Fill const& op);
std::int64_t workspace(Fill const& op, std::int64_t budget);
static_assert(Kernel<Fill>);

/// Initial weights: x[i] = std * normal(seed, name, logical element) for this rank's slice of the logical parameter:
/// rows [row0, row0 + rows) and columns [col0, col0 + cols) of a matrix with `logical_cols` columns. The same bits
/// under every layout.
struct InitNormal {
  Tensor x;  ///< fp32, bf16 or fp16 [rows, cols]
  std::uint64_t seed = 0, name_hash = 0;
  std::int64_t row0 = 0, col0 = 0, logical_cols = 0;
  double std = 0.02;
};
void reference(InitNormal const& op);
void launch(Cpu& cpu, InitNormal const& op);
void launch(Cuda& cuda, InitNormal const& op);
Cost cost(InitNormal const& op);
std::int64_t workspace(InitNormal const& op, std::int64_t budget);
static_assert(Kernel<InitNormal>);

}  // namespace selenite
