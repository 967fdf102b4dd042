#pragma once
#include <algorithm>

#include "kernels/attention/simd_cpu.hpp"

/// Small matrix products over packed blocks: C[m][n] (+)= sum over g of A(m, g) B[g][n], sums in fp32. A is read
/// element by element and spread over a vector, B and C are read by vectors. A group g is one term (Singles) or two
/// (Pairs: two bf16 in a word). Both ways of storing A are one template: rows of m, or rows of g.
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

template <class Element>
struct Matrix {
  Element* data;
  std::int64_t stride;  ///< elements from row to row
};

enum class Stored { by_m, by_group };  ///< A(m, g) is data[m * stride + g] or data[g * stride + m]

template <class Arith, Stored stored, int rows, int vectors>
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
      auto const x = stored == Stored::by_m ? a.data[i * a.stride + g] : a.data[g * a.stride + i];
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) acc[i][j] = Arith::multiply_add(acc[i][j], x, row + j * lanes);
    }
  }
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j) store_vector(c.data + i * c.stride + j * lanes, acc[i][j]);
}

/// All rows of a panel of `vectors` vectors of columns.
template <class Arith, Stored stored, int vectors>
void panel(std::int64_t m, Matrix<typename Arith::Element const> a, Matrix<typename Arith::Element const> b,
           Matrix<float> c, std::int64_t groups, bool accumulate) {
  auto const row = [&](std::int64_t i) {
    return Matrix<typename Arith::Element const>{a.data + (stored == Stored::by_m ? i * a.stride : i), a.stride};
  };
  auto const out = [&](std::int64_t i) { return Matrix<float>{c.data + i * c.stride, c.stride}; };
  std::int64_t i = 0;
  for (; i + tile_rows <= m; i += tile_rows)
    tile<Arith, stored, tile_rows, vectors>(row(i), b, out(i), groups, accumulate);
  switch (m - i) {
    case 1:
      return tile<Arith, stored, 1, vectors>(row(i), b, out(i), groups, accumulate);
    case 2:
      return tile<Arith, stored, 2, vectors>(row(i), b, out(i), groups, accumulate);
    case 3:
      return tile<Arith, stored, 3, vectors>(row(i), b, out(i), groups, accumulate);
    case 4:
      return tile<Arith, stored, 4, vectors>(row(i), b, out(i), groups, accumulate);
    case 5:
      return tile<Arith, stored, 5, vectors>(row(i), b, out(i), groups, accumulate);
    default:
      return;
  }
}

/// C[m][n] (+)= A B; n is rounded up to whole vectors, for which B and C must have room.
template <class Arith, Stored stored>
void multiply(std::int64_t m, std::int64_t n, std::int64_t groups, Matrix<typename Arith::Element const> a,
              Matrix<typename Arith::Element const> b, Matrix<float> c, bool accumulate) {
  for (std::int64_t j = 0; j < n; j += tile_vectors * lanes) {
    Matrix<typename Arith::Element const> const columns{b.data + j, b.stride};
    Matrix<float> const out{c.data + j, c.stride};
    switch (std::min<std::int64_t>(tile_vectors, (n - j + lanes - 1) / lanes)) {
      case 1:
        panel<Arith, stored, 1>(m, a, columns, out, groups, accumulate);
        break;
      case 2:
        panel<Arith, stored, 2>(m, a, columns, out, groups, accumulate);
        break;
      case 3:
        panel<Arith, stored, 3>(m, a, columns, out, groups, accumulate);
        break;
      default:
        panel<Arith, stored, 4>(m, a, columns, out, groups, accumulate);
        break;
    }
  }
}

}  // namespace selenite::attention_cpu
