#pragma once
#include <algorithm>

#include "kernels/attention/matrix_unit_cpu.hpp"

/// Small matrix products over packed blocks: C[m][n] (+)= sum over g of A[m][g] B[g][n], sums in fp32. A is read
/// element by element and spread over a vector, B and C are read by vectors. A group g is one term (Singles) or two
/// (Pairs: two bf16 in a word). The matrix unit, where there is one, takes the whole tiles of Pairs.
namespace selenite::attention_cpu {

/// fp32 elements.
struct Singles {
  using Element = float;
  static constexpr int step = 1;  ///< terms in a group
  static Floats multiply_add(Floats acc, float a, float const* b) { return acc + a * load_floats(b); }
};
/// Words of two bf16 that lie next to each other along the summed dimension, the earlier in the low half.
struct Pairs {
  using Element = std::uint32_t;
  static constexpr int step = 2;
  static Floats multiply_add(Floats acc, std::uint32_t a, std::uint32_t const* b) {
    return dot_pairs(acc, a, load_vector<Words>(b));
  }
};

template <class Arith, int rows, int vectors>
inline void tile(Matrix<typename Arith::Element const> a, Matrix<typename Arith::Element const> b, Matrix<float> c,
                 std::int64_t groups, bool accumulate) {
  Floats acc[rows][vectors];
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j)
      acc[i][j] = accumulate ? load_floats(c.data + i * c.stride + j * lanes) : Floats{};
#pragma GCC unroll 2
  for (std::int64_t g = 0; g < groups; ++g) {
    auto const* const row = b.data + g * b.stride;
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      auto const x = a.data[i * a.stride + g];
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) acc[i][j] = Arith::multiply_add(acc[i][j], x, row + j * lanes);
    }
  }
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j) store_vector(c.data + i * c.stride + j * lanes, acc[i][j]);
}

/// All rows of a panel of `vectors` vectors of columns.
template <class Arith, int vectors>
void panel(std::int64_t m, Matrix<typename Arith::Element const> a, Matrix<typename Arith::Element const> b,
           Matrix<float> c, std::int64_t groups, bool accumulate) {
  auto const row = [&](std::int64_t i) {
    return Matrix<typename Arith::Element const>{a.data + i * a.stride, a.stride};
  };
  auto const out = [&](std::int64_t i) { return Matrix<float>{c.data + i * c.stride, c.stride}; };
  std::int64_t i = 0;
  for (; i + tile_rows <= m; i += tile_rows) tile<Arith, tile_rows, vectors>(row(i), b, out(i), groups, accumulate);
  switch (m - i) {
    case 1:
      return tile<Arith, 1, vectors>(row(i), b, out(i), groups, accumulate);
    case 2:
      return tile<Arith, 2, vectors>(row(i), b, out(i), groups, accumulate);
    case 3:
      return tile<Arith, 3, vectors>(row(i), b, out(i), groups, accumulate);
    case 4:
      return tile<Arith, 4, vectors>(row(i), b, out(i), groups, accumulate);
    case 5:
      return tile<Arith, 5, vectors>(row(i), b, out(i), groups, accumulate);
    default:
      return;
  }
}

/// C[m][n] (+)= A B by vectors; n is rounded up to whole ones.
template <class Arith>
void multiply_by_vectors(std::int64_t m, std::int64_t n, std::int64_t groups, Matrix<typename Arith::Element const> a,
                         Matrix<typename Arith::Element const> b, Matrix<float> c, bool accumulate) {
  for (std::int64_t j = 0; j < n; j += tile_vectors * lanes) {
    Matrix<typename Arith::Element const> const columns{b.data + j, b.stride};
    Matrix<float> const out{c.data + j, c.stride};
    switch (std::min<std::int64_t>(tile_vectors, (n - j + lanes - 1) / lanes)) {
      case 1:
        panel<Arith, 1>(m, a, columns, out, groups, accumulate);
        break;
      case 2:
        panel<Arith, 2>(m, a, columns, out, groups, accumulate);
        break;
      case 3:
        panel<Arith, 3>(m, a, columns, out, groups, accumulate);
        break;
      default:
        panel<Arith, 4>(m, a, columns, out, groups, accumulate);
        break;
    }
  }
}

/// C[m][n] (+)= A B; n is rounded up to whole vectors, for which B and C must have room.
template <class Arith>
void multiply(MatrixUnit const& unit, std::int64_t m, std::int64_t n, std::int64_t groups,
              Matrix<typename Arith::Element const> a, Matrix<typename Arith::Element const> b, Matrix<float> c,
              bool accumulate) {
  if constexpr (builds_matrix_unit && std::is_same_v<Arith, Pairs>) {
    constexpr std::int64_t tile = MatrixUnit::tile;
    static_assert(!builds_matrix_unit || tile == lanes);  // n is a whole number of both
    std::int64_t const rows = m / tile * tile, whole = groups / tile * tile;
    if (unit.ready() && rows > 0 && whole > 0) {
      unit.multiply(rows, (n + tile - 1) / tile * tile, whole, a, b, c, accumulate);
      if (whole < groups)
        multiply_by_vectors<Arith>(rows, n, groups - whole, {a.data + whole, a.stride},
                                   {b.data + whole * b.stride, b.stride}, c, true);
      a.data += rows * a.stride, c.data += rows * c.stride, m -= rows;
      if (m == 0) return;
    }
  }
  multiply_by_vectors<Arith>(m, n, groups, a, b, c, accumulate);
}

}  // namespace selenite::attention_cpu
