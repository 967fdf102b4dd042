#pragma once
#include "kernels/cuda/launch.cuh"

namespace selenite {

constexpr float log2_of_e = 1.44269504f;

/// 2^x by the special function unit alone: within 2 roundings, and 0 below 2^-126.
__device__ inline float exp2_of(float x) {
#ifdef SELENITE_SHIM
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

}  // namespace selenite
