#pragma once
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"

namespace selenite {

/// Element-wise kernels. `body.template apply<width>(row, col)` does elements [col, col + width) of a row; `width` is 1
/// for what is left at a row's end, and everywhere where rows are not aligned.
template <int width, class Body>
__global__ void map_kernel(Body body, std::int64_t rows, std::int64_t cols) {
  std::int64_t const col = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * width;
  std::int64_t row = static_cast<std::int64_t>(blockIdx.y) * blockDim.y + threadIdx.y;
  for (; row < rows; row += static_cast<std::int64_t>(gridDim.y) * blockDim.y) {
    if (col + width <= cols) {
      body.template apply<width>(row, col);
    } else {
      for (std::int64_t c = col; c < cols; ++c) body.template apply<1>(row, c);
    }
  }
}

template <int width, class Body>
void launch_map(Cuda const& cuda, std::int64_t rows, std::int64_t cols, Body const& body) {
  constexpr std::int64_t most_blocks_y = 65535;
  unsigned const x = rows < 8 ? 256 : warp_size, y = 256 / x;  // a warp reads 512 consecutive bytes of one row
  dim3 const blocks(grid_size(divide_up(divide_up(cols, width), x)),
                    grid_size(std::min(most_blocks_y, divide_up(rows, y))));
  launch_kernel(cuda, {blocks, dim3(x, y)}, map_kernel<width, Body>, body, rows, cols);
}

/// All elements of a [rows, cols] matrix, `width` at a time where `packs` (rows_take says so).
template <int width, class Body>
void map(Cuda const& cuda, std::int64_t rows, std::int64_t cols, bool packs, Body const& body) {
  packs ? launch_map<width>(cuda, rows, cols, body) : launch_map<1>(cuda, rows, cols, body);
}
/// The same over tensors of one shape, as one row where all are contiguous.
template <int width, class Body, class... Tensors>
void map_tensors(Cuda const& cuda, Body const& body, Tensor const& first, Tensors const&... others) {
  bool const flat = all_contiguous(first, others...);
  std::int64_t const rows = flat ? 1 : first.rows(), cols = flat ? first.count() : first.cols();
  // a matrix taken as one row needs no aligned rows
  bool const packs =
      flat ? rows_take(width, first.reshaped({cols}), (others.defined() ? others.reshaped({cols}) : others)...)
           : rows_take(width, first, others...);
  map<width>(cuda, rows, cols, packs, body);
}

}  // namespace selenite
