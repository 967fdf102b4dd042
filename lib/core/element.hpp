#pragma once
#include "core/tensor.hpp"

namespace selenite {

/// One element of a tensor of any dtype, as a double. For reference kernels and tests: slow, and the same code for all
/// dtypes. `col` counts in the last dimension, `row` over all others; strided rows are followed.
inline double load(Tensor const& x, std::int64_t row, std::int64_t col) {
  std::byte const* const p = x.raw() + (row * x.row_stride() + col) * size_of(x.dtype());
  switch (x.dtype()) {
    case DType::fp64:
      return *reinterpret_cast<double const*>(p);
    case DType::fp32:
      return *reinterpret_cast<float const*>(p);
    case DType::bf16:
      return static_cast<float>(*reinterpret_cast<bf16 const*>(p));
    case DType::fp16:
      return static_cast<float>(*reinterpret_cast<fp16 const*>(p));
    case DType::e4m3:
      return static_cast<float>(*reinterpret_cast<e4m3 const*>(p));
    case DType::e5m2:
      return static_cast<float>(*reinterpret_cast<e5m2 const*>(p));
    case DType::int64:
      return static_cast<double>(*reinterpret_cast<std::int64_t const*>(p));
    case DType::int32:
      return *reinterpret_cast<std::int32_t const*>(p);
    case DType::uint16:
      return *reinterpret_cast<std::uint16_t const*>(p);
    case DType::uint8:
      return *reinterpret_cast<std::uint8_t const*>(p);
  }
  return 0;
}
/// Element i of a vector, or of a tensor of any shape in row-major order.
inline double load(Tensor const& x, std::int64_t i) { return load(x, i / x.cols(), i % x.cols()); }

/// Writes one element, rounded to nearest even in the tensor's dtype.
inline void store(Tensor const& x, std::int64_t row, std::int64_t col, double value) {
  std::byte* const p = x.raw() + (row * x.row_stride() + col) * size_of(x.dtype());
  switch (x.dtype()) {
    case DType::fp64:
      *reinterpret_cast<double*>(p) = value;
      break;
    case DType::fp32:
      *reinterpret_cast<float*>(p) = static_cast<float>(value);
      break;
    case DType::bf16:
      *reinterpret_cast<bf16*>(p) = bf16(static_cast<float>(value));
      break;
    case DType::fp16:
      *reinterpret_cast<fp16*>(p) = fp16(static_cast<float>(value));
      break;
    case DType::e4m3:
      *reinterpret_cast<e4m3*>(p) = e4m3(static_cast<float>(value));
      break;
    case DType::e5m2:
      *reinterpret_cast<e5m2*>(p) = e5m2(static_cast<float>(value));
      break;
    case DType::int64:
      *reinterpret_cast<std::int64_t*>(p) = static_cast<std::int64_t>(value);
      break;
    case DType::int32:
      *reinterpret_cast<std::int32_t*>(p) = static_cast<std::int32_t>(value);
      break;
    case DType::uint16:
      *reinterpret_cast<std::uint16_t*>(p) = static_cast<std::uint16_t>(value);
      break;
    case DType::uint8:
      *reinterpret_cast<std::uint8_t*>(p) = static_cast<std::uint8_t>(value);
      break;
  }
}
inline void store(Tensor const& x, std::int64_t i, double value) { store(x, i / x.cols(), i % x.cols(), value); }

}  // namespace selenite
