#pragma once
#include <cstddef>
#include <type_traits>

#include "core/dtype.hpp"
#include "core/tensor.hpp"
#include "kernels/attention/tile_cpu.hpp"

/// Blocks of rows of a tensor, brought into the four orders in which the products read them. Whatever lies beyond the
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

/// dst[group of rows][column]: the B of products that sum over rows. `columns` >= src.cols and
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

/// dst[j][i] for i in [0, n_i) and j in [0, n_j); load(i, j) gives row i's elements j, j + 1, ... of a vector, zero
/// beyond the last. n_i is rounded up to whole vectors.
template <class Element, class Load>
void pack_across(std::int64_t n_i, std::int64_t n_j, Load&& load, Matrix<Element> dst) {
  for (std::int64_t j = 0; j < n_j; j += lanes)
    for (std::int64_t i = 0; i < n_i; i += lanes) {
      Words block[lanes];
      for (int k = 0; k < lanes; ++k) block[k] = load(i + k, j);
      transpose(block);
      for (int k = 0; k < static_cast<int>(std::min<std::int64_t>(lanes, n_j - j)); ++k)
        store_vector(dst.data + (j + k) * dst.stride + i, block[k]);
    }
}
/// Up to `lanes` elements, zero beyond the `n`th, as floats in words.
template <class T>
Words load_as_floats(T const* from, std::int64_t n) {
  float x[lanes] = {};
  if (n >= lanes)
    for (int c = 0; c < lanes; ++c) x[c] = static_cast<float>(from[c]);
  else
    for (std::int64_t c = 0; c < n; ++c) x[c] = static_cast<float>(from[c]);
  return load_vector<Words>(x);
}
/// Up to `lanes` 16-bit elements, zero beyond the `n`th, each in the low half of a word.
template <class T>
Words load_as_words(T const* from, std::int64_t n) {
  using Halves = std::uint16_t __attribute__((vector_size(2 * lanes)));
  Halves x{};
  std::memcpy(&x, from, n >= lanes ? sizeof x : 2 * static_cast<std::size_t>(n));
  return __builtin_convertvector(x, Words);
}

/// dst[group of columns][row], `rows` >= src.rows of them, rounded up to whole vectors: the B of products that sum over
/// columns.
template <class Arith, class T>
void pack_transposed(Rows<T const> src, Matrix<typename Arith::Element> dst, std::int64_t rows) {
  pack_across(
      rows, groups_of(src.cols, Arith::step),
      [&](std::int64_t row, std::int64_t group) {
        if (row >= src.rows) return Words{};
        std::int64_t const col = group * Arith::step, left = src.cols - col;
        if constexpr (std::is_same_v<Arith, Pairs>) {
          Words x{};
          std::memcpy(&x, src[row] + col, left >= 2 * lanes ? sizeof x : 2 * static_cast<std::size_t>(left));
          return x;
        } else {
          return load_as_floats(src[row] + col, left);
        }
      },
      dst);
}

/// dst[column][group of rows], `rows` >= src.rows of them, their groups rounded up to whole vectors: the A of products
/// that sum over rows.
template <class Arith, class T>
void pack_columns(Rows<T const> src, Matrix<typename Arith::Element> dst, std::int64_t rows) {
  pack_across(
      groups_of(rows, Arith::step), src.cols,
      [&](std::int64_t group, std::int64_t col) {
        std::int64_t const row = group * Arith::step, left = src.cols - col;
        if (row >= src.rows) return Words{};
        if constexpr (std::is_same_v<Arith, Pairs>) {
          Words const low = load_as_words(src[row] + col, left);
          return row + 1 < src.rows ? low | load_as_words(src[row + 1] + col, left) << 16 : low;
        } else {
          return load_as_floats(src[row] + col, left);
        }
      },
      dst);
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
