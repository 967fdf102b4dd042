#pragma once
#include "kernels/cuda/checked.cuh"
#include "kernels/cuda/launch.cuh"

namespace selenite {

constexpr int most_warps = 32;  // of a block

// Every reduction has one fixed order, and all threads get its result.

template <class V>
__device__ V shuffle_xor(V v, int lanes) {
  return __shfl_xor_sync(0xffffffffu, v, lanes);
}

struct Sum {
  template <class V>
  __device__ V operator()(V a, V b) const {
    return a + b;
  }
};
/// NaN is skipped, as fmaxf does.
struct Maximum {
  __device__ float operator()(float a, float b) const { return larger(a, b); }
};

template <class V, class Combine>
__device__ V warp_reduce(V v, Combine combine) {
#pragma unroll
  for (int lanes = warp_size / 2; lanes > 0; lanes /= 2) v = combine(v, shuffle_xor(v, lanes));
  return v;
}

/// What warp w gives, in lane w of every warp of a one-dimensional block of whole warps; from the next power of two on,
/// the lanes repeat that. One barrier, which shows the block what was written before; another one lies between this
/// and what is still read of an earlier exchange.
template <class V>
__device__ V exchange_between_warps(V v, V none, SharedArray<V, most_warps>& shared) {
  int const warps = static_cast<int>(blockDim.x) / warp_size, thread = static_cast<int>(threadIdx.x);
  if (warps == 1) {
    __syncwarp();
    return v;
  }
  if (thread % warp_size == 0) shared[thread / warp_size] = v;
  __syncthreads();
  int last = warps - 1;
  last |= last >> 1, last |= last >> 2, last |= last >> 4;
  int const warp = thread & last;
  return warp < warps ? shared[warp] : none;
}
/// Over what was exchanged.
template <class V, class Combine>
__device__ V reduce_warps(V v, Combine combine) {
  int const warps = static_cast<int>(blockDim.x) / warp_size;
#pragma unroll
  for (int lanes = warp_size / 2; lanes > 0; lanes /= 2)
    if (lanes < warps) v = combine(v, shuffle_xor(v, lanes));
  return v;
}
/// Over the threads of a one-dimensional block of whole warps.
template <class V, class Combine>
__device__ V block_reduce_once(V v, V identity, Combine combine, SharedArray<V, most_warps>& shared) {
  return reduce_warps(exchange_between_warps(warp_reduce(v, combine), identity, shared), combine);
}
/// The same; `shared` may be used for several in turn.
template <class V, class Combine>
__device__ V block_reduce(V v, V identity, Combine combine, SharedArray<V, most_warps>& shared) {
  if (blockDim.x > warp_size) __syncthreads();  // the last result may still be read
  return block_reduce_once(v, identity, combine, shared);
}
template <class V>
__device__ V block_sum(V v, SharedArray<V, most_warps>& shared) {
  return block_reduce(v, V{0}, Sum{}, shared);
}

}  // namespace selenite
