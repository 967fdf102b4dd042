#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/dtype.hpp"
#include "core/error.hpp"

namespace selenite {

/// The extents of a tensor, slowest first; at most four dimensions. A scalar has none.
class Shape {
 public:
  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<std::int64_t> extents) {
    for (std::int64_t e : extents) extents_[rank_++] = e;
  }
  constexpr int rank() const { return rank_; }
  constexpr std::int64_t operator[](int i) const { return extents_[static_cast<std::size_t>(i < 0 ? rank_ + i : i)]; }
  constexpr std::int64_t& operator[](int i) { return extents_[static_cast<std::size_t>(i < 0 ? rank_ + i : i)]; }
  constexpr std::int64_t count() const {
    std::int64_t n = 1;
    for (int i = 0; i < rank_; ++i) n *= extents_[static_cast<std::size_t>(i)];
    return n;
  }
  constexpr bool operator==(Shape const&) const = default;

 private:
  std::array<std::int64_t, 4> extents_{};
  int rank_ = 0;
};
/// "[4096, 768]"
std::string to_string(Shape const& shape);

/// Where the bytes are.
enum class Device : std::uint8_t { cpu, cuda };

/// A view of elements: pointer (null while only sizes are walked), dtype, shape, device. No ownership, no graph.
/// Rows (runs of the last dimension) are contiguous; consecutive rows lie row_stride elements apart, so that the
/// columns of a wider matrix (q, k and v in the output of one GEMM) are tensors too.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::byte* data, DType dtype, Shape shape, Device device = Device::cpu)
      : data_(data), shape_(shape), row_stride_(shape.rank() ? shape[-1] : 1), dtype_(dtype), device_(device) {}
  template <class T>
  static Tensor of(T* data, Shape shape) {
    return {reinterpret_cast<std::byte*>(data), dtype_of<T>::value, shape};
  }

  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  Shape const& shape() const { return shape_; }
  std::int64_t count() const { return shape_.count(); }
  std::int64_t bytes() const { return count() * size_of(dtype_); }
  /// The tensor seen as a matrix: all dimensions but the last are rows.
  std::int64_t rows() const {
    return shape_.rank() && shape_[-1] ? shape_.count() / shape_[-1] : (shape_.rank() ? 0 : 1);
  }
  std::int64_t cols() const { return shape_.rank() ? shape_[-1] : 1; }
  std::int64_t row_stride() const { return row_stride_; }
  bool contiguous() const { return row_stride_ == cols() || rows() <= 1; }
  bool defined() const { return shape_.rank() > 0; }

  std::byte* raw() const { return data_; }
  /// The elements; the dtype must be T's.
  template <class T>
  T* data() const {
    EXPECTS(dtype_of<T>::value == dtype_);
    return reinterpret_cast<T*>(data_);
  }

  /// Columns [begin, begin + count) of every row.
  Tensor columns(std::int64_t begin, std::int64_t count) const;
  /// Rows [begin, begin + count) as a matrix [count, cols].
  Tensor row_range(std::int64_t begin, std::int64_t count) const;
  /// The same elements in another shape; must be contiguous and of equal count.
  Tensor reshaped(Shape shape) const;

 private:
  std::byte* data_ = nullptr;
  Shape shape_;
  std::int64_t row_stride_ = 1;
  DType dtype_ = DType::fp32;
  Device device_ = Device::cpu;
};

}  // namespace selenite
