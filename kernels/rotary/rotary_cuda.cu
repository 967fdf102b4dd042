#include <cmath>

#include "kernels/cuda/checked.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/rotary/rotary.hpp"

namespace selenite {
namespace {

constexpr int most_pairs = 128;  // whose angles are in shared memory at a time

template <class T>
struct RotaryArguments {
  RowsOf<T> x;
  std::int32_t const* positions;
  int heads, half;
  double log2_base;
  int direction;  ///< -1: inverse
};

/// One block a token: cosines and sines in double, once for all heads, then all heads are turned by them.
template <class T, int width>
__global__ void __launch_bounds__(256) rotary_kernel(RotaryArguments<T> a) {
  __shared__ SharedArray<float, most_pairs> cosines, sines;
  std::int64_t const t = blockIdx.x;
  int const thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  double const position = a.direction * a.positions[t];
  T* const row = a.x[t];
  for (int first = 0; first < a.half; first += most_pairs) {
    int const pairs = a.half - first < most_pairs ? a.half - first : most_pairs;
    if (first > 0) __syncthreads();  // the last angles are still read
    for (int i = thread; i < pairs; i += threads) {
      double const angle = position * exp2(-static_cast<double>(first + i) / a.half * a.log2_base);
      cosines[i] = static_cast<float>(cos(angle));
      sines[i] = static_cast<float>(sin(angle));
    }
    __syncthreads();
    int const packs = pairs / width;
    for (int p = thread; p < a.heads * packs; p += threads) {
      int const head = p / packs, i = p % packs * width;
      T *const low = row + std::int64_t{2} * head * a.half + first + i, *const high = low + a.half;
      FloatPack<width> u = load_floats<width>(low), v = load_floats<width>(high);
#pragma unroll
      for (int k = 0; k < width; ++k) {
        float const c = cosines[i + k], s = sines[i + k], low_k = u.at[k], high_k = v.at[k];
        u.at[k] = low_k * c - high_k * s;
        v.at[k] = high_k * c + low_k * s;
      }
      store_floats<width>(low, u);
      store_floats<width>(high, v);
    }
  }
}

}  // namespace

void launch(Cuda& cuda, Rotary const& op) {
  EXPECTS(op.head_dim % 2 == 0 && op.x.cols() % op.head_dim == 0);
  visit_device_float(op.x.dtype(), [&]<class T>(T) {
    constexpr int width = full_width<T>;
    RotaryArguments<T> const a{rows_of<T>(op.x),
                               data_of<std::int32_t const>(op.positions),
                               static_cast<int>(op.x.cols() / op.head_dim),
                               static_cast<int>(op.head_dim / 2),
                               std::log2(op.base),
                               op.inverse ? -1 : 1};
    bool const packs = a.half % width == 0 && rows_take(width, op.x);
    std::int64_t const work = op.x.cols() / 2 / (packs ? width : 1);
    Launch const shape{grid_size(op.x.rows()), whole_warps(work < 256 ? work : 256)};
    launch_kernel(cuda, shape, packs ? rotary_kernel<T, width> : rotary_kernel<T, 1>, a);
  });
}

}  // namespace selenite
