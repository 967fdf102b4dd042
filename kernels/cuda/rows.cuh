#pragma once
#include <cstdint>
#include <type_traits>

#include "core/error.hpp"
#include "core/tensor.hpp"
#include "kernels/cuda/pack.cuh"

namespace selenite {

/// A tensor as a kernel sees it: rows of T, `stride` elements apart. Null where the tensor is not defined.
template <class T>
struct RowsOf {
  T* data;
  std::int64_t stride;
  __device__ T* operator[](std::int64_t row) const { return data + row * stride; }
};
template <class T>
RowsOf<T> rows_of(Tensor const& x) {
  if (!x.defined()) return {nullptr, 0};
  return {x.data<std::remove_const_t<T>>(), x.row_stride()};
}
/// The elements of a vector, or null.
template <class T>
T* data_of(Tensor const& x) {
  return rows_of<T>(x).data;
}

/// Whether every row of every tensor begins where accesses of `width` elements (of 16 bytes at most) may.
template <class... Tensors>
bool rows_take(int width, Tensors const&... tensors) {
  auto aligned = [width](Tensor const& x) {
    if (!x.defined()) return true;
    std::int64_t const bytes = width * size_of(x.dtype()), unit = bytes < 16 ? bytes : 16;
    auto const address = reinterpret_cast<std::uintptr_t>(x.raw());
    bool const stride = x.rows() <= 1 || x.row_stride() * size_of(x.dtype()) % unit == 0;
    return address % static_cast<std::uintptr_t>(unit) == 0 && stride;
  };
  return (aligned(tensors) && ...);
}
/// Whether all tensors (of one shape) can be taken as one long row.
template <class... Tensors>
bool all_contiguous(Tensors const&... tensors) {
  return ((!tensors.defined() || tensors.contiguous()) && ...);
}

/// Calls f with a value of the element type; these the kernels compute with.
template <class F>
decltype(auto) visit_device_float(DType type, F&& f) {
  if (type == DType::fp32) return f(float{});
  if (type == DType::bf16) return f(bf16{});
  if (type == DType::fp16) return f(fp16{});
  throw Error(
      concat("The CUDA kernels do not compute in ", name(type), " (they have fp32, bf16 and fp16). Use one of these."));
}

}  // namespace selenite
