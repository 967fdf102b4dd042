#include <algorithm>
#include <array>

#include "core/parallel_for.hpp"
#include "core/simd.hpp"
#include "kernels/gemm/gemm_backend.hpp"

// Without a library: portable loops over blocks that fit the first caches. Correct, and several times slower than
// oneDNN.
namespace selenite {
namespace {

constexpr std::int64_t rows = 32, columns = 128, depth = 64;

/// block[i][j] = x(i0 + i, j0 + j), zeros beyond the edges.
template <std::size_t height, std::size_t width>
void pack(Fp32Matrix x, std::int64_t i0, std::int64_t j0, std::int64_t m, std::int64_t n,
          std::array<std::array<float, width>, height>& block) {
  std::int64_t const di = x.transposed ? 1 : x.stride, dj = x.transposed ? x.stride : 1;
  for (std::size_t i = 0; i < height; ++i) {
    for (std::size_t j = 0; j < width; ++j) {
      auto const r = i0 + static_cast<std::int64_t>(i), c = j0 + static_cast<std::int64_t>(j);
      block[i][j] = r < m && c < n ? x.data[r * di + c * dj] : 0.0f;
    }
  }
}

}  // namespace

Direct multiply_direct(Cpu&, Gemm const&) { return Direct::unsupported; }

void multiply_fp32(std::int64_t m, std::int64_t n, std::int64_t k, float scale, Fp32Matrix a, Fp32Matrix b,
                   Fp32Matrix out, bool accumulate) {
  std::int64_t const across = (n + columns - 1) / columns, blocks = (m + rows - 1) / rows * across;
  parallel_for(blocks, 1, [&](std::int64_t block, std::int64_t) {
    std::int64_t const i0 = block / across * rows, j0 = block % across * columns;
    std::array<std::array<float, depth>, rows> left;
    std::array<std::array<float, columns>, depth> right;
    std::array<std::array<float, columns>, rows> sums{};
    for (std::int64_t p0 = 0; p0 < k; p0 += depth) {
      pack(a, i0, p0, m, k, left);
      pack(b, p0, j0, k, n, right);
      for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t p = 0; p < depth; ++p)
          for (std::size_t j = 0; j < columns; ++j) sums[i][j] += left[i][p] * right[p][j];
    }
    for (std::int64_t i = i0; i < std::min(m, i0 + rows); ++i) {
      for (std::int64_t j = j0; j < std::min(n, j0 + columns); ++j) {
        float const product = scale * sums[static_cast<std::size_t>(i - i0)][static_cast<std::size_t>(j - j0)];
        float& element = out.data[i * out.stride + j];
        element = accumulate ? element + product : product;
      }
    }
  });
}

}  // namespace selenite
