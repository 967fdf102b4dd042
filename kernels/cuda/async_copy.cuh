#pragma once
#include <cuda_pipeline.h>

#include "kernels/cuda/pack.cuh"

namespace selenite {

// Copies from global into shared memory that do not pass through registers: a thread starts some, goes on, and waits
// for its own later; a barrier then shows them to the block.

/// Starts the copy of 16 bytes; both addresses are multiples of 16. If not `there`: of zeros, and nothing is read.
template <class T>
__device__ void copy_pack_async(T* shared, T const* global, bool there) {
  expect_aligned<uint4>(shared);
  expect_aligned<uint4>(global);
  __pipeline_memcpy_async(shared, global, 16, there ? 0 : 16);
}
/// The same for one fp32.
__device__ inline void copy_async(float* shared, float const* global, bool there) {
  __pipeline_memcpy_async(shared, global, sizeof(float), there ? 0 : sizeof(float));
}
__device__ inline void wait_for_copies() {
  __pipeline_commit();
  __pipeline_wait_prior(0);
  keep_loads_behind();  // the toolkit's wait does not say that it shows memory
}

}  // namespace selenite
