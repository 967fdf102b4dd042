#pragma once
#include <type_traits>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"

namespace selenite {

/// One row shared out over the threads of a block, `width` elements at a time. Up to `held` packs a thread are read
/// once and stay in registers; with held = 0 every pass reads the row again (it is in a cache by then).
template <class T, int width, int held>
class BlockRow {
 public:
  __device__ BlockRow(T const* row, int n) : row_(row), n_(n) {
#pragma unroll
    for (int k = 0; k < held; ++k)
      if (column(k) < n) packs_[k] = load_raw<width>(row + column(k));
  }
  /// f(column, FloatPack<width>) for all packs of this thread.
  template <class F>
  __device__ void for_each(F f) const {
    if constexpr (held > 0) {
#pragma unroll
      for (int k = 0; k < held; ++k)
        if (column(k) < n_) f(column(k), widen(packs_[k]));
    } else {
      for (int c = column(0); c < n_; c += static_cast<int>(blockDim.x) * width) f(c, load_floats<width>(row_ + c));
    }
  }

  /// Elements that the threads of a warp have.
  __device__ int count_of_warp(int warp) const {
    constexpr int all = warp_size * width;
    int const step = static_cast<int>(blockDim.x) * width;
    int count = 0;
    auto const add = [&](int first) { count += n_ - first < 0 ? 0 : n_ - first < all ? n_ - first : all; };
    if constexpr (held > 0) {
#pragma unroll
      for (int k = 0; k < held; ++k) add(warp * all + k * step);
    } else {
#pragma unroll 1
      for (int first = warp * all; first < n_; first += step) add(first);
    }
    return count;
  }

 private:
  static __device__ int column(int k) {
    return static_cast<int>(threadIdx.x + static_cast<unsigned>(k) * blockDim.x) * width;
  }
  T const* row_;
  int n_;
  RawPack<T, width> packs_[held > 0 ? held : 1];
};

template <int w, int h>
struct RowAccess {
  static constexpr int width = w, held = h;
};

/// f(RowAccess, threads of a block) for rows of n elements of T; `packs`: they can be read 16 bytes at a time.
template <class T, class F>
void visit_row_access(std::int64_t n, bool packs, F&& f) {
  constexpr int width = full_width<T>, held = 4,
                most_threads = 1024;  // by one warp each, rows of 2,048 took 1.3 times as long
  std::int64_t const count = divide_up(n, width);
  if (!packs || n % width != 0)
    f(RowAccess<1, 0>{}, whole_warps(n < 256 ? n : 256));
  else if (count > held * most_threads)
    f(RowAccess<width, 0>{}, whole_warps(512));
  else
    f(RowAccess<width, held>{}, whole_warps(divide_up(count, held)));
}

}  // namespace selenite
