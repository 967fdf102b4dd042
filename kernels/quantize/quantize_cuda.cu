#include <algorithm>
#include <cstring>

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/quantize/quantize.hpp"
#include "kernels/quantize/scale.hpp"

namespace selenite {
namespace {

constexpr int threads = 256, edge = 64;  // threads of a block; rows and columns of a tile that it turns over

/// The larger of `largest` and |x|; NaN is not larger than anything.
__device__ float larger(float largest, float x) {
  float const magnitude = fabsf(x);
  return magnitude > largest ? magnitude : largest;
}

/// The block's largest magnitude goes to `amax`: as an integer, since bits of magnitudes are ordered as they are.
__device__ void see(float largest, float* amax, SharedArray<float, most_warps>& shared) {
  largest = block_reduce(largest, 0.0f, Maximum{}, shared);
  if (threadIdx.x == 0) atomicMax(reinterpret_cast<int*>(amax), __float_as_int(largest));
}

/// A tile of x is read in packs along its rows, rounded, kept in shared memory and written in both orders. `width`
/// elements an access of x, y and, along the columns, of the transpose.
template <class T, class Y, int width>
__global__ void __launch_bounds__(threads)
    quantize_kernel(RowsOf<T const> x, std::int64_t rows, std::int64_t cols, RowsOf<Y> y, RowsOf<Y> transposed,
                    float const* scale, float* amax) {
  constexpr int packs = edge / width, pitch = edge + 4;
  __shared__ SharedArray<Y, edge * pitch> tile;
  __shared__ SharedArray<float, most_warps> shared;
  std::int64_t const row0 = static_cast<std::int64_t>(blockIdx.y) * edge,
                     col0 = static_cast<std::int64_t>(blockIdx.x) * edge;
  float const factor = *scale;
  float largest = 0;
  for (int i = static_cast<int>(threadIdx.x); i < edge * packs; i += threads) {
    int const r = i / packs, c = i % packs * width;
    if (row0 + r >= rows || col0 + c >= cols) continue;
    FloatPack<width> const v = load_floats<width>(x[row0 + r] + col0 + c);
    Pack<Y, width> rounded;
#pragma unroll
    for (int k = 0; k < width; ++k) {
      largest = larger(largest, v.at[k]);
      rounded.at[k] = from_float<Y>(v.at[k] * factor);
      tile[r * pitch + c + k] = rounded.at[k];
    }
    if (y.data) store_pack<width>(y[row0 + r] + col0 + c, rounded);
  }
  if (amax) see(largest, amax, shared);
  if (!transposed.data) return;
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < edge * packs; i += threads) {
    int const c = i / packs, r = i % packs * width;
    if (row0 + r >= rows || col0 + c >= cols) continue;
    Pack<Y, width> column;
#pragma unroll
    for (int k = 0; k < width; ++k) column.at[k] = tile[(r + k) * pitch + c];
    store_pack<width>(transposed[col0 + c] + row0 + r, column);
  }
}

template <class T, class Y>
void quantize(Cuda const& cuda, Quantize const& op) {
  constexpr int width = 8;
  std::int64_t const rows = op.x.rows(), cols = op.x.cols();
  bool const packs = rows_take(width, op.x, op.y, op.transposed) && cols % width == 0 &&
                     (!op.transposed.defined() || rows % width == 0);
  launch_kernel(cuda, {dim3(grid_size(divide_up(cols, edge)), grid_size(divide_up(rows, edge))), threads},
                packs ? quantize_kernel<T, Y, width> : quantize_kernel<T, Y, 1>, rows_of<T const>(op.x), rows, cols,
                rows_of<Y>(op.y), rows_of<Y>(op.transposed), data_of<float const>(op.scale), data_of<float>(op.amax));
}

/// One block a run of rows, or of a flat tensor's elements.
template <class T, int width>
__global__ void __launch_bounds__(threads)
    abs_max_kernel(RowsOf<T const> x, std::int64_t rows, std::int64_t cols, float* amax) {
  __shared__ SharedArray<float, most_warps> shared;
  float largest = 0;
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    std::int64_t const step = static_cast<std::int64_t>(gridDim.x) * threads * width;
    std::int64_t col = (static_cast<std::int64_t>(blockIdx.x) * threads + threadIdx.x) * width;
    for (; col < cols; col += step) {
      if (col + width <= cols) {
        FloatPack<width> const v = load_floats<width>(x[row] + col);
#pragma unroll
        for (int k = 0; k < width; ++k) largest = larger(largest, v.at[k]);
      } else {
        for (std::int64_t c = col; c < cols; ++c) largest = larger(largest, to_float(x[row][c]));
      }
    }
  }
  see(largest, amax, shared);
}

/// One thread a tensor.
__global__ void update_scales_kernel(float* amax, RowsOf<float> history, std::int64_t tensors, std::int64_t steps,
                                     float* scale, RowsOf<float> inverse, ScaleRule rule, bool push) {
  std::int64_t const i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= tensors) return;
  float* const row = history[i];
  if (push && isfinite(amax[i])) {
    for (std::int64_t s = steps - 1; s > 0; --s) row[s] = row[s - 1];
    row[0] = amax[i];
  }
  if (push) amax[i] = 0;
  float largest = 0;
  for (std::int64_t s = 0; s < steps; ++s) largest = larger(largest, row[s]);
  std::uint32_t const bits = scale_bits(__float_as_uint(largest), rule);
  scale[i] = __uint_as_float(bits);
  *inverse[i] = __uint_as_float(inverse_bits(bits));
}

std::uint32_t bits_of(double value) {
  auto const x = static_cast<float>(value);
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

}  // namespace

void launch(Cuda& cuda, Quantize const& op) {
  visit_device_float(op.x.dtype(), [&]<class T>(T) {
    op.dtype() == DType::e4m3 ? quantize<T, e4m3>(cuda, op) : quantize<T, e5m2>(cuda, op);
  });
}

void launch(Cuda& cuda, AbsMax const& op) {
  constexpr std::int64_t most_blocks = 1024;
  bool const flat = op.x.contiguous();
  std::int64_t const rows = flat ? 1 : op.x.rows(), cols = flat ? op.x.count() : op.x.cols();
  visit_device_float(op.x.dtype(), [&]<class T>(T) {
    constexpr int width = full_width<T>;
    bool const packs = rows_take(width, flat ? op.x.reshaped({cols}) : op.x);
    std::int64_t const across = std::min(most_blocks, divide_up(cols, threads * (packs ? width : 1)));
    dim3 const blocks(grid_size(across),
                      grid_size(std::min(rows, divide_up(most_blocks, std::max<std::int64_t>(1, across)))));
    launch_kernel(cuda, {blocks, threads}, packs ? abs_max_kernel<T, width> : abs_max_kernel<T, 1>,
                  rows_of<T const>(op.x), rows, cols, data_of<float>(op.amax));
  });
}

void launch(Cuda& cuda, UpdateScales const& op) {
  std::int64_t const tensors = op.history.rows();
  ScaleRule const rule{bits_of(op.largest), bits_of(op.initial), static_cast<std::int32_t>(op.margin)};
  launch_kernel(cuda, {grid_size(divide_up(tensors, 128)), 128u}, update_scales_kernel, data_of<float>(op.amax),
                rows_of<float>(op.history), tensors, op.history.cols(), data_of<float>(op.scale),
                rows_of<float>(op.inverse), rule, op.push);
}

}  // namespace selenite
