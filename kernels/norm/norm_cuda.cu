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
  double eps;
  int features;
};

/// One block a row.
template <class T, int width, int held>
__global__ void __launch_bounds__(1024) norm_kernel(NormArguments<T> a) {
  __shared__ SharedArray<float, most_warps> shared;
  std::int64_t const t = blockIdx.x;
  auto const n = static_cast<float>(a.features);
  BlockRow<T, width, held> const x(a.x[t], a.features);
  float mean = 0, squares = 0;
  if (a.mean) {
    x.for_each([&](int, Pack<T, width> const& pack) {
      for (int i = 0; i < width; ++i) mean += to_float(pack.at[i]);
    });
    mean = block_sum(mean, shared) / n;
  }
  x.for_each([&](int, Pack<T, width> const& pack) {
    for (int i = 0; i < width; ++i) {
      float const d = to_float(pack.at[i]) - mean;
      squares = fmaf(d, d, squares);
    }
  });
  auto const rstd = static_cast<float>(1.0 / sqrt(static_cast<double>(block_sum(squares, shared) / n) + a.eps));
  if (threadIdx.x == 0) {
    if (a.mean) a.mean[t] = mean;
    a.rstd[t] = rstd;
  }
  x.for_each([&](int column, Pack<T, width> const& pack) {
    FloatPack<width> v = widen(pack);
    FloatPack<width> const weight = load_floats<width>(a.weight + column);
    for (int i = 0; i < width; ++i) v.at[i] = (v.at[i] - mean) * rstd * weight.at[i];
    if (a.bias) {
      FloatPack<width> const bias = load_floats<width>(a.bias + column);
      for (int i = 0; i < width; ++i) v.at[i] += bias.at[i];
    }
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
                             op.eps,
                             static_cast<int>(n)};
    bool const packs = rows_take(full_width<T>, op.x, op.y, op.weight, op.bias);
    visit_row_access<T>(n, packs, [&](auto access, unsigned threads) {
      launch_kernel(cuda, {grid_size(op.x.rows()), threads}, norm_kernel<T, access.width, access.held>, a);
    });
  });
}

}  // namespace selenite
