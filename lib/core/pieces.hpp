#pragma once
#include <algorithm>

#include "core/parallel_for.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// The first element of a row.
template <class T>
T* row(Tensor const& x, std::int64_t r) {
  return x.data<T>() + r * x.row_stride();
}

/// Rows that make a piece of about 32 Ki elements: enough work for a thread to fetch, small enough to share out evenly.
constexpr std::int64_t rows_a_piece(std::int64_t cols) {
  return std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(1, cols));
}

/// body(row, first, last) for columns [first, last) of every row of a matrix, on all threads. Rows longer than a piece
/// are cut, at multiples of a piece. Where `flat`, the matrix is contiguous in all tensors and taken as one row.
template <class Body>
void for_row_pieces(std::int64_t rows, std::int64_t cols, bool flat, Body&& body) {
  constexpr std::int64_t piece = 32768;
  if (flat) cols *= rows, rows = std::min<std::int64_t>(rows, 1);
  if (cols <= piece) {
    parallel_for(rows, rows_a_piece(cols), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r) body(r, std::int64_t{0}, cols);
    });
    return;
  }
  std::int64_t const pieces = (cols + piece - 1) / piece;
  parallel_for(rows * pieces, 1, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t p = first; p < last; ++p) {
      std::int64_t const begin = p % pieces * piece;
      body(p / pieces, begin, std::min(begin + piece, cols));
    }
  });
}

}  // namespace selenite
