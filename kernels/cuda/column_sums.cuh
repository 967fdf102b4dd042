#pragma once
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"

namespace selenite {

/// Sums over the rows of a matrix, by column, in an order of the sizes alone: blocks of rows are summed apart, then
/// their sums are added.
struct ColumnBlocks {
  std::int64_t rows, rows_a_block;
  std::int64_t count() const { return divide_up(rows, rows_a_block); }
};
/// At most `most` blocks of rows, at least one.
inline ColumnBlocks column_blocks(std::int64_t rows, std::int64_t most) {
  return {rows, std::max<std::int64_t>(1, divide_up(rows, std::max<std::int64_t>(1, most)))};
}

constexpr int column_threads = 32, row_threads = 8;

/// sums[block][output][col] = sum of the block's rows. `terms.template add<width>(row, col, sums)` adds one row's terms
/// to Terms::outputs packs of sums. Threads of a block: [row_threads][column_threads].
template <int width, class Terms>
__global__ void column_sums_kernel(Terms terms, std::int64_t rows, std::int64_t rows_a_block, std::int64_t cols,
                                   float* sums) {
  constexpr int outputs = Terms::outputs, all = column_threads * width;
  __shared__ SharedArray<float, row_threads * outputs * all> shared;
  std::int64_t const col = (static_cast<std::int64_t>(blockIdx.x) * column_threads + threadIdx.x) * width;
  std::int64_t const first = blockIdx.y * rows_a_block;
  std::int64_t const last = first + rows_a_block < rows ? first + rows_a_block : rows;
  FloatPack<width> mine[outputs] = {};
  if (col < cols)
    for (std::int64_t row = first + threadIdx.y; row < last; row += row_threads)
      terms.template add<width>(row, col, mine);
  int const y = static_cast<int>(threadIdx.y), x = static_cast<int>(threadIdx.x) * width;
  for (int o = 0; o < outputs; ++o)
    for (int i = 0; i < width; ++i) shared[(y * outputs + o) * all + x + i] = mine[o].at[i];
  __syncthreads();
  if (y >= outputs || col >= cols) return;  // thread row y adds output y
  FloatPack<width> total = {};
  for (int r = 0; r < row_threads; ++r)
    for (int i = 0; i < width; ++i) total.at[i] += shared[(r * outputs + y) * all + x + i];
  store_pack<width>(sums + (blockIdx.y * outputs + y) * cols + col, total);
}

/// `packs`: every row begins where accesses of `width` elements may, and has whole packs.
template <int width, class Terms>
void column_sums(Cuda const& cuda, Terms const& terms, ColumnBlocks const& blocks, std::int64_t cols, bool packs,
                 float* sums) {
  static_assert(Terms::outputs <= row_threads);
  auto launch_with = [&](int w, auto kernel) {
    dim3 const grid(grid_size(divide_up(divide_up(cols, w), column_threads)), grid_size(blocks.count()));
    launch_kernel(cuda, {grid, dim3(column_threads, row_threads)}, kernel, terms, blocks.rows, blocks.rows_a_block,
                  cols, sums);
  };
  if (packs && cols % width == 0)
    launch_with(width, column_sums_kernel<width, Terms>);
  else
    launch_with(1, column_sums_kernel<1, Terms>);
}

/// out[col] (+)= sum over `count` partial sums, `stride` floats apart. Threads of a block: [32][32].
template <class Float>
__global__ void __launch_bounds__(1024)
    add_partials_kernel(Float const* partials, std::int64_t count, std::int64_t stride, Float* out, std::int64_t cols,
                        bool accumulate) {
  __shared__ SharedArray<Float, warp_size * warp_size> shared;
  std::int64_t const col = static_cast<std::int64_t>(blockIdx.x) * warp_size + threadIdx.x;
  int const y = static_cast<int>(threadIdx.y), x = static_cast<int>(threadIdx.x);
  Float sum = 0;
  if (col < cols)
    for (std::int64_t p = y; p < count; p += warp_size) sum += partials[p * stride + col];
  shared[y * warp_size + x] = sum;
  __syncthreads();
  if (y > 0 || col >= cols) return;
  for (int i = 1; i < warp_size; ++i) sum += shared[i * warp_size + x];
  out[col] = accumulate ? out[col] + sum : sum;
}
template <class Float>
void add_partials(Cuda const& cuda, Float const* partials, std::int64_t count, std::int64_t stride, Float* out,
                  std::int64_t cols, bool accumulate) {
  launch_kernel(cuda, {grid_size(divide_up(cols, warp_size)), dim3(warp_size, warp_size)}, add_partials_kernel<Float>,
                partials, count, stride, out, cols, accumulate);
}

}  // namespace selenite
