#include <algorithm>
#include <cstring>

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/quantize/quantize.hpp"
#include "kernels/quantize/scale.hpp"

namespace selenite {
namespace {

constexpr int threads = 256;

/// The block's largest magnitude goes to `amax`: as an integer, since bits of magnitudes are ordered as they are. What
/// is there may be old, but was never larger than what is to be: most blocks need no atomic operation.
__device__ void see(float largest, float* amax, SharedArray<float, most_warps>& shared) {
  largest = block_reduce(largest, 0.0f, Maximum{}, shared);
  auto* const bits = reinterpret_cast<int*>(amax);
  if (threadIdx.x == 0 && __float_as_int(largest) > *static_cast<int volatile*>(bits))
    atomicMax(bits, __float_as_int(largest));
}

/// Of x, `count` elements at most; others are zero.
template <bool pack, int width, class T>
__device__ RawPack<T, width> front(T const* from, std::int64_t count) {
  if constexpr (pack) {
    if (count >= width) return load_raw<width>(from);
    return {};
  } else {
    Pack<T, width> x{};
#pragma unroll
    for (int k = 0; k < width; ++k)
      if (k < count) x.at[k] = from[k];
    RawPack<T, width> raw;
    std::memcpy(raw.raw, &x, sizeof x);
    return raw;
  }
}
template <bool pack, int width, class Y>
__device__ void store_front(Y* to, Pack<Y, width> const& y, std::int64_t count) {
  if constexpr (pack) {
    if (count >= width) store_pack<width>(to, y);
  } else {
#pragma unroll
    for (int k = 0; k < width; ++k)
      if (k < count) to[k] = y.at[k];
  }
}

/// The rows of a matrix of 4 x 4 bytes that is given by its columns.
struct Turned {
  std::uint32_t rows[4];
};
__device__ Turned turned(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) {
  std::uint32_t const ab01 = pick_bytes(a, b, 0x5140), cd01 = pick_bytes(c, d, 0x5140), ab23 = pick_bytes(a, b, 0x7362),
                      cd23 = pick_bytes(c, d, 0x7362);
  return {{pick_bytes(ab01, cd01, 0x5410), pick_bytes(ab01, cd01, 0x7632), pick_bytes(ab23, cd23, 0x5410),
           pick_bytes(ab23, cd23, 0x7632)}};
}

/// A tile of x, rounded and written in both orders. A thread has packs of four rows, all on their way at once; of each
/// column its four elements are a word that passes through shared memory. `packs`: rows and columns are whole ones of
/// 16 bytes.
template <class T, class Y, bool packs>
__global__ void __launch_bounds__(threads)
    quantize_kernel(RowsOf<T const> x, std::int64_t rows, std::int64_t cols, RowsOf<Y> y, RowsOf<Y> transposed,
                    float const* scale, float* amax) {
  constexpr int width = 8, down = 4, tile_rows = 128, tile_cols = 64, words = tile_rows / down,
                pitch = words + 1;  // of a column, so that neither order meets a bank twice
  __shared__ SharedArray<std::uint32_t, tile_cols * pitch> tile;
  __shared__ SharedArray<float, most_warps> shared;
  int const thread = static_cast<int>(threadIdx.x), lane = thread % warp_size, warp = thread / warp_size;
  int const r = warp / 2 * 32 + lane / 4 * down, c = warp % 2 * 32 + lane % 4 * width;
  std::int64_t const row0 = static_cast<std::int64_t>(blockIdx.y) * tile_rows,
                     col0 = static_cast<std::int64_t>(blockIdx.x) * tile_cols, row = row0 + r, col = col0 + c;
  RawPack<T, width> raw[down];
#pragma unroll
  for (int i = 0; i < down; ++i) raw[i] = front<packs, width>(x[row + i] + col, row + i < rows ? cols - col : 0);
  float const factor = *scale;
  float largest = 0;
  std::uint32_t columns[width] = {};
#pragma unroll
  for (int i = 0; i < down; i += 2) {
    FloatPack<width> const v = widen(raw[i]), below = widen(raw[i + 1]);
#pragma unroll
    for (int k = 0; k < width; ++k) {
      largest = larger(largest, larger(fabsf(v.at[k]), fabsf(below.at[k])));
      columns[k] |= pair_from_floats<Y>(v.at[k] * factor, below.at[k] * factor) << (8 * i);
    }
  }
  if (y.data) {
    Turned const left = turned(columns[0], columns[1], columns[2], columns[3]),
                 right = turned(columns[4], columns[5], columns[6], columns[7]);
#pragma unroll
    for (int i = 0; i < down; ++i) {
      std::uint32_t const halves[2] = {left.rows[i], right.rows[i]};
      Pack<Y, width> out;
      std::memcpy(&out, halves, sizeof out);
      if (row + i < rows) store_front<packs, width>(y[row + i] + col, out, cols - col);
    }
  }
  if (amax) see(largest, amax, shared);
  if (!transposed.data) return;
#pragma unroll
  for (int k = 0; k < width; ++k) tile[(c + k) * pitch + r / down] = columns[k];
  __syncthreads();
#pragma unroll
  for (int n = thread; n < tile_cols * tile_rows / 16; n += threads) {
    int const column = n / (tile_rows / 16), first = n % (tile_rows / 16) * 16;
    if (col0 + column >= cols) continue;
    std::uint32_t run[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) run[k] = tile[column * pitch + first / down + k];
    Pack<Y, 16> out;
    std::memcpy(&out, run, sizeof out);
    store_front<packs, 16>(transposed[col0 + column] + row0 + first, out, rows - row0 - first);
  }
}

template <class T, class Y>
void quantize(Cuda const& cuda, Quantize const& op) {
  std::int64_t const rows = op.x.rows(), cols = op.x.cols();
  bool const packs = rows_take(8, op.x, op.y) && rows_take(16, op.transposed) && cols % 8 == 0 &&
                     (!op.transposed.defined() || rows % 16 == 0);
  launch_kernel(cuda, {dim3(grid_size(divide_up(cols, 64)), grid_size(divide_up(rows, 128))), threads},
                packs ? quantize_kernel<T, Y, true> : quantize_kernel<T, Y, false>, rows_of<T const>(op.x), rows, cols,
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
        for (int k = 0; k < width; ++k) largest = larger(largest, fabsf(v.at[k]));
      } else {
        for (std::int64_t c = col; c < cols; ++c) largest = larger(largest, fabsf(to_float(x[row][c])));
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
  for (std::int64_t s = 0; s < steps; ++s) largest = larger(largest, fabsf(row[s]));
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
