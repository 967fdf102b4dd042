#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/reduction/reduction.hpp"

namespace selenite {
namespace {

constexpr int threads = 512;

template <class T>
__device__ double to_double(T x) {
  if constexpr (std::is_same_v<T, double>)
    return x;
  else
    return to_float(x);
}

/// partials[block] = sum of squares of the block's elements; `width` elements at a time, what is left over by one
/// thread.
template <class T, int width>
__global__ void __launch_bounds__(threads)
    squares_kernel(T const* x, std::int64_t count, std::int64_t piece, double* partials) {
  __shared__ SharedArray<double, most_warps> shared;
  std::int64_t const first = blockIdx.x * piece, rest = count - first, n = rest < piece ? rest : piece;
  double sum = 0;
  for (std::int64_t i = static_cast<std::int64_t>(threadIdx.x) * width; i < n; i += threads * width) {
    if (i + width <= n) {
      auto const pack = load_pack<width>(x + first + i);
#pragma unroll
      for (int k = 0; k < width; ++k) sum = fma(to_double(pack.at[k]), to_double(pack.at[k]), sum);
    } else {
      for (std::int64_t k = i; k < n; ++k) sum = fma(to_double(x[first + k]), to_double(x[first + k]), sum);
    }
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(threads)
    add_up_kernel(double const* partials, std::int64_t count, double* out, bool accumulate) {
  __shared__ SharedArray<double, most_warps> shared;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += threads) sum += partials[i];
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) *out = accumulate ? *out + sum : sum;
}

}  // namespace

/// One block a partial sum that the workspace has room for: the order depends on the count alone.
void launch(Cuda& cuda, SquaredNorm const& op) {
  EXPECTS(op.x.contiguous());
  std::int64_t const count = op.x.count(), blocks = static_cast<std::int64_t>(cuda.workspace.size()) / 8;
  std::int64_t const piece = blocks > 0 ? divide_up(divide_up(count, blocks), 16) * 16 : 16;  // aligned pieces
  auto* const partials = reinterpret_cast<double*>(cuda.workspace.data());
  auto launch_with = [&]<class T>(T) {
    constexpr int width = full_width<T>;
    bool const packs = reinterpret_cast<std::uintptr_t>(op.x.raw()) % 16 == 0;
    launch_kernel(cuda, {grid_size(divide_up(count, piece)), static_cast<unsigned>(threads)},
                  packs ? squares_kernel<T, width> : squares_kernel<T, 1>, op.x.data<T>(), count, piece, partials);
  };
  op.x.dtype() == DType::fp64 ? launch_with(double{}) : visit_device_float(op.x.dtype(), launch_with);
  launch_kernel(cuda, {1u, static_cast<unsigned>(threads)}, add_up_kernel, partials, divide_up(count, piece),
                op.out.data<double>(), op.accumulate);
}

}  // namespace selenite
