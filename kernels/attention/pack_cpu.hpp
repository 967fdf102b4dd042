#pragma once
#include <cstddef>
#include <type_traits>

#include "core/dtype.hpp"
#include "core/tensor.hpp"
#include "kernels/attention/tile_cpu.hpp"

/// Blocks of rows of a tensor, brought into the three orders in which the products read them. Whatever lies beyond the
/// block's rows and columns, up to whole groups and vectors, is zero.
namespace selenite::attention_cpu {

/// Rows of a tensor [row][col] of T.
template <class T>
struct Rows {
  T* data;
  std::int64_t stride;
  std::int64_t rows, cols;
  T* operator[](std::int64_t row) const { return data + row * stride; }
};
template <class T>
Rows<T> rows_of(Tensor const& x, std::int64_t row, std::int64_t rows, std::int64_t col, std::int64_t cols) {
  return {x.data<std::remove_const_t<T>>() + row * x.row_stride() + col, x.row_stride(), rows, cols};
}

constexpr std::int64_t groups_of(std::int64_t terms, int step) { return (terms + step - 1) / step; }
constexpr std::int64_t whole_vectors(std::int64_t n) { return (n + lanes - 1) / lanes * lanes; }

template <class T>
std::uint32_t pair_of(T low, T high) {
  return static_cast<std::uint32_t>(low.bits) | static_cast<std::uint32_t>(high.bits) << 16;
}

/// dst[row][group of columns]: the A of products that sum over columns.
template <class Arith, class T>
void pack_rows(Rows<T const> src, Matrix<typename Arith::Element> dst) {
  for (std::int64_t r = 0; r < src.rows; ++r) {
    T const* const from = src[r];
    auto* const to = dst.data + r * dst.stride;
    if constexpr (std::is_same_v<Arith, Pairs>) {
      std::memcpy(to, from, static_cast<std::size_t>(src.cols) * sizeof(T));
      if (src.cols % 2) to[src.cols / 2] = from[src.cols - 1].bits;
    } else {
      for (std::int64_t c = 0; c < src.cols; ++c) to[c] = static_cast<float>(from[c]);
    }
  }
}

/// dst[group of rows][column]: the B (or the A by group) of products that sum over rows. `columns` >= src.cols and
/// `rows` >= src.rows of them.
template <class Arith, class T>
void pack_groups(Rows<T const> src, Matrix<typename Arith::Element> dst, std::int64_t columns, std::int64_t rows) {
  for (std::int64_t r = 0; r < src.rows; r += Arith::step) {
    T const* const from = src[r];
    auto* const to = dst.data + r / Arith::step * dst.stride;
    if constexpr (std::is_same_v<Arith, Pairs>) {
      if (r + 1 < src.rows) {
        T const* const next = src[r + 1];
        for (std::int64_t c = 0; c < src.cols; ++c) to[c] = pair_of(from[c], next[c]);
      } else {
        for (std::int64_t c = 0; c < src.cols; ++c) to[c] = from[c].bits;
      }
    } else {
      for (std::int64_t c = 0; c < src.cols; ++c) to[c] = static_cast<float>(from[c]);
    }
    std::fill(to + src.cols, to + columns, typename Arith::Element{});
  }
  for (std::int64_t g = groups_of(src.rows, Arith::step); g < groups_of(rows, Arith::step); ++g)
    std::fill_n(dst.data + g * dst.stride, columns, typename Arith::Element{});
}

/// dst[group of columns][row], `rows` >= src.rows of them: the B of products that sum over columns.
template <class Arith, class T>
void pack_transposed(Rows<T const> src, Matrix<typename Arith::Element> dst, std::int64_t rows) {
  std::int64_t const groups = groups_of(src.cols, Arith::step);
  for (std::int64_t r = 0; r < src.rows; ++r) {
    T const* const from = src[r];
    for (std::int64_t g = 0; g < groups; ++g) {
      if constexpr (std::is_same_v<Arith, Pairs>) {
        dst.data[g * dst.stride + r] = 2 * g + 1 < src.cols ? pair_of(from[2 * g], from[2 * g + 1]) : from[2 * g].bits;
      } else {
        dst.data[g * dst.stride + r] = static_cast<float>(from[g]);
      }
    }
  }
  for (std::int64_t g = 0; g < groups; ++g)
    std::fill(dst.data + g * dst.stride + src.rows, dst.data + g * dst.stride + rows, typename Arith::Element{});
}

/// fp32 [row][n] as dst[pair of rows][n]. n is a multiple of the vector.
inline void pair_rows(Matrix<float const> src, std::int64_t rows, std::int64_t n, Matrix<std::uint32_t> dst) {
  for (std::int64_t r = 0; r < rows; r += 2)
    for (std::int64_t j = 0; j < n; j += lanes) {
      Floats const low = load_floats(src.data + r * src.stride + j);
      Floats const high = r + 1 < rows ? load_floats(src.data + (r + 1) * src.stride + j) : Floats{};
      store_vector(dst.data + r / 2 * dst.stride + j, pair(low, high));
    }
}

/// fp32 [row][n] as dst[row][pair of columns].
inline void pair_columns(Matrix<float const> src, std::int64_t rows, std::int64_t n, Matrix<std::uint32_t> dst) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t j = 0; j < n; j += lanes)
      store_bf16(dst.data + r * dst.stride + j / 2, load_floats(src.data + r * src.stride + j));
}

/// Room for the packed blocks of one task, kept by each thread between tasks: some hundred KiB, grown to the largest
/// head size met. Not part of the memory plan, which counts what grows with tokens.
class Room {
 public:
  explicit Room(std::int64_t bytes);
  /// `count` elements, 64-byte aligned.
  template <class T>
  T* take(std::int64_t count) {
    T* const p = reinterpret_cast<T*>(next_);
    next_ += (count * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
    return p;
  }

 private:
  std::byte* next_;
};

}  // namespace selenite::attention_cpu
