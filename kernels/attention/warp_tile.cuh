#pragma once
#include "kernels/attention/block.cuh"
#include "kernels/cuda/tensor_core.cuh"

/// Products of matrices of 16-bit elements by one warp on tensor cores: operands come from shared memory or from the
/// registers that hold an earlier product, and sums stay in registers.
namespace selenite::attention_cuda {

/// rows x cols fp32 sums of a warp, in tiles of 16 x 8. Of every eighth row a lane has two elements of each eight.
template <int rows_, int cols_>
struct WarpTile {
  static constexpr int rows = rows_, cols = cols_, row_tiles = rows / 16, col_tiles = cols / 8;
  static constexpr int lane_rows = rows / 8;                ///< rows of which a lane has elements,
  static constexpr int lane_values = lane_rows * cols / 4;  ///< and these in all
  static_assert(rows % 16 == 0 && cols % 16 == 0);
  float sums[row_tiles][col_tiles][4];

  static __device__ int row(int i) { return i * 8 + lane() / 4; }
  static __device__ int col(int j, int e) { return j * 8 + lane() % 4 * 2 + e; }
  /// Element (row(i), col(j, e)).
  __device__ float& at(int i, int j, int e) { return sums[i / 2][j][i % 2 * 2 + e]; }

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int j = 0; j < col_tiles; ++j)
#pragma unroll
        for (int l = 0; l < 4; ++l) sums[i][j][l] = 0;
  }
  /// body(i, j, e, element) for all that the lane has; unrolled.
  template <class Body>
  __device__ void for_each(Body body) {
#pragma unroll
    for (int i = 0; i < lane_rows; ++i)
#pragma unroll
      for (int j = 0; j < col_tiles; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) body(i, j, e, at(i, j, e));
  }
};

/// A tile rounded to 16 bits: the left operand of a product.
template <int rows, int cols>
struct Operand {
  std::uint32_t parts[rows / 16][cols / 16][4];
};
template <class T, int rows, int cols>
__device__ Operand<rows, cols> rounded(WarpTile<rows, cols> const& x) {
  Operand<rows, cols> y;
#pragma unroll
  for (int i = 0; i < rows / 16; ++i)
#pragma unroll
    for (int k = 0; k < cols / 16; ++k)
#pragma unroll
      for (int l = 0; l < 4; ++l) {
        float const* const pair = &x.sums[i][2 * k + l / 2][l % 2 * 2];
        y.parts[i][k][l] = pair_from_floats<T>(pair[0], pair[1]);
      }
  return y;
}

/// sums += a b^T over `depth`; both by rows in shared memory, `ld` apart.
template <int depth, int ld, class T, int rows, int cols>
__device__ void add_product(WarpTile<rows, cols>& sums, T const* a, T const* b) {
  T const* const a_row = a + lane() % 16 * ld + lane() / 16 * 8;
  T const* const b_row = b + (lane() / 16 * 8 + lane() % 8) * ld + lane() / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < depth; k += 16) {
    std::uint32_t a_part[rows / 16][4];
#pragma unroll
    for (int i = 0; i < rows / 16; ++i) load_matrices(a_part[i], a_row + i * 16 * ld + k);
#pragma unroll
    for (int j = 0; j < cols / 16; ++j) {
      std::uint32_t b_part[4];
      load_matrices(b_part, b_row + j * 16 * ld + k);
#pragma unroll
      for (int i = 0; i < rows / 16; ++i) {
        multiply_add<T>(sums.sums[i][2 * j], a_part[i], b_part[0], b_part[1]);
        multiply_add<T>(sums.sums[i][2 * j + 1], a_part[i], b_part[2], b_part[3]);
      }
    }
  }
}

/// sums += a b; b by rows in shared memory, `ld` apart.
template <int ld, class T, int rows, int inner, int cols>
__device__ void add_product(WarpTile<rows, cols>& sums, Operand<rows, inner> const& a, T const* b) {
  T const* const b_row = b + lane() % 16 * ld + lane() / 16 * 8;
#pragma unroll
  for (int k = 0; k < inner / 16; ++k)
#pragma unroll
    for (int j = 0; j < cols / 16; ++j) {
      std::uint32_t b_part[4];
      load_matrices_transposed(b_part, b_row + k * 16 * ld + j * 16);
#pragma unroll
      for (int i = 0; i < rows / 16; ++i) {
        multiply_add<T>(sums.sums[i][2 * j], a.parts[i][k], b_part[0], b_part[1]);
        multiply_add<T>(sums.sums[i][2 * j + 1], a.parts[i][k], b_part[2], b_part[3]);
      }
    }
}

/// Combines what the four lanes that share a tile's rows have.
template <class Combine>
__device__ float row_reduce(float x, Combine combine) {
  x = combine(x, shuffle_xor(x, 1));
  return combine(x, shuffle_xor(x, 2));
}

/// Rows [0, count) of a warp's sums, each times its factor, to rows from `row` on, by 16 bytes: half of their columns
/// at a time pass through `stage`, which has the bytes of as many rows of a RowBlock<T, rows, cols>, and is the warp's
/// alone. factors(i): of row(i); called by all lanes.
template <class T, int rows, int cols, class Factors>
__device__ void write_tile(WarpTile<rows, cols>& sums, T* stage, Output<T> const& to, std::int64_t row,
                           std::int64_t col, int count, int head_dim, Factors factors) {
  using Tile = WarpTile<rows, cols>;
  constexpr int half = cols / 2, ld = half + 4, width = full_width<T>,
                last = (rows * half / width + warp_size - 1) / warp_size * warp_size;
  static_assert(half % width == 0 && ld * sizeof(float) <= RowBlock<T, rows, cols>::ld * sizeof(T));
  auto* const staged = reinterpret_cast<float*>(stage);
  float olds[Tile::lane_rows];
#pragma unroll
  for (int i = 0; i < Tile::lane_rows; ++i) {
    RowFactors const factor = factors(i);
    olds[i] = factor.old;
#pragma unroll
    for (int j = 0; j < Tile::col_tiles; ++j) sums.at(i, j, 0) *= factor.sums, sums.at(i, j, 1) *= factor.sums;
  }
#pragma unroll
  for (int first = 0; first < cols; first += half) {
    __syncwarp();  // what was there is read
#pragma unroll
    for (int i = 0; i < Tile::lane_rows; ++i)
#pragma unroll
      for (int j = 0; j < half / 8; ++j)
        store_pack<2>(staged + Tile::row(i) * ld + Tile::col(j, 0),
                      FloatPack<2>{sums.at(i, first / 8 + j, 0), sums.at(i, first / 8 + j, 1)});
    __syncwarp();
#pragma unroll 1
    for (int n = lane(); n < last; n += warp_size) {
      int const r = n / (half / width), c = n % (half / width) * width;
      float old = 1;
      if (to.add) {  // from the lane that has it
#pragma unroll
        for (int i = 0; i < Tile::lane_rows; ++i) {
          float const theirs = __shfl_sync(0xffffffffu, olds[i], r % 8 * 4);
          if (r / 8 == i) old = theirs;
        }
      }
      if (r < rows && r < count)
        to.write(row + r, col + first + c, load_pack<width>(staged + r * ld + c), head_dim - first - c, old);
    }
  }
}

template <class F>
void visit_tensor_core_type(DType type, F&& f) {
  type == DType::bf16 ? f(bf16{}) : f(fp16{});
}
/// Calls f with the depth, as a constant, that heads of this size are filled up to. 80 and 96 are sizes of GPT-3's
/// models.
template <class F>
void visit_tensor_core_depth(std::int64_t head_dim, F&& f) {
  if (head_dim <= 64) return f(std::integral_constant<int, 64>{});
  if (head_dim <= 80) return f(std::integral_constant<int, 80>{});
  if (head_dim <= 96) return f(std::integral_constant<int, 96>{});
  if (head_dim <= 128) return f(std::integral_constant<int, 128>{});
  if (head_dim <= 256) return f(std::integral_constant<int, 256>{});
  refuse_head_dim(head_dim);
}

}  // namespace selenite::attention_cuda
