#include "kernels/cuda/block_row.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/norm/norm.hpp"

namespace selenite {
namespace {

template <class T>
struct NormArguments {
  RowsOf<T const> x;
  RowsOf<T> y;
  T const *weight, *bias;  ///< bias null: none
  float *mean, *rstd;      ///< mean null: RMSNorm
  float eps, inverse_features;
  int features;
};

/// What a warp has of a row: squares of the distances to its own mean, of which none cancel in sum / count.
struct WarpPart {
  float sum, squares, count;
  __device__ float mean() const { return count > 0 ? __fdividef(sum, count) : 0.0f; }
};

/// 1 / sqrt(x), by a step of Newton's method from what the special function unit says.
__device__ inline float inverse_root(float x) {
  float const y = rsqrtf(x);
  return fmaf(0.5f * y, fmaf(-x * y, y, 1.0f), y);
}

template <class Row>
__device__ WarpPart part_of_warp(Row const& x, bool subtract_mean) {
  WarpPart mine{0, 0, static_cast<float>(x.count_of_warp(static_cast<int>(threadIdx.x) / warp_size))};
  if (subtract_mean) {
    x.for_each([&](int, auto const& pack) {
      for (float const v : pack.at) mine.sum += v;
    });
    mine.sum = warp_reduce(mine.sum, Sum{});
  }
  float const mean = mine.mean();
  x.for_each([&](int, auto const& pack) {
    for (float const v : pack.at) mine.squares = fmaf(v - mean, v - mean, mine.squares);
  });
  mine.squares = warp_reduce(mine.squares, Sum{});
  return mine;
}

/// One block a row, one barrier: the warps' squares are about their own means, and put together about the row's.
template <class T, int width, int held>
__global__ void __launch_bounds__(1024) norm_kernel(NormArguments<T> a) {
  __shared__ SharedArray<WarpPart, most_warps> shared;
  std::int64_t const t = blockIdx.x;
  BlockRow<T, width, held> const x(a.x[t], a.features);
  WarpPart const part = exchange_between_warps(part_of_warp(x, a.mean != nullptr), WarpPart{0, 0, 0}, shared);
  float const mean = reduce_warps(part.sum, Sum{}) * a.inverse_features, apart = part.mean() - mean;
  float const squares = reduce_warps(fmaf(part.count * apart, apart, part.squares), Sum{});
  float const rstd = inverse_root(fmaf(squares, a.inverse_features, a.eps));
  if (threadIdx.x == 0) {
    if (a.mean) a.mean[t] = mean;
    a.rstd[t] = rstd;
  }
  x.for_each([&](int column, FloatPack<width> const& pack) {
    FloatPack<width> const weight = load_floats<width>(a.weight + column);
    FloatPack<width> v = {};
    if (a.bias) v = load_floats<width>(a.bias + column);
    for (int i = 0; i < width; ++i) v.at[i] = fmaf((pack.at[i] - mean) * rstd, weight.at[i], v.at[i]);
    store_floats<width>(a.y[t] + column, v);
  });
}

}  // namespace

void launch(Cuda& cuda, Norm const& op) {
  visit_device_float(op.x.dtype(), [&]<class T>(T) {
    std::int64_t const n = op.x.cols();
    NormArguments<T> const a{rows_of<T const>(op.x),
                             rows_of<T>(op.y),
                             data_of<T const>(op.weight),
                             data_of<T const>(op.bias),
                             op.subtract_mean ? data_of<float>(op.mean) : nullptr,
                             data_of<float>(op.rstd),
                             static_cast<float>(op.eps),
                             1.0f / static_cast<float>(n),
                             static_cast<int>(n)};
    bool const packs = rows_take(full_width<T>, op.x, op.y, op.weight, op.bias);
    visit_row_access<T>(n, packs, [&](auto access, unsigned threads) {
      launch_kernel(cuda, {grid_size(op.x.rows()), threads}, norm_kernel<T, access.width, access.held>, a);
    });
  });
}

}  // namespace selenite
