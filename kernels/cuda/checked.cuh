#pragma once
#include <cstdint>
#include <cuda_runtime.h>

#include "core/dtype.hpp"

// Shared memory, 16-byte accesses and instructions that C++ has no word for go through these. The host shim of the
// tests has its own versions of them, which know the bounds and the alignment, and fill shared memory with NaN before
// each block.
#ifndef SELENITE_SHIM
namespace selenite {

/// An array in static shared memory: `__shared__ SharedArray<float, 32> sums;`
template <class T, int size>
struct SharedArray {
  T elements[size];
  __device__ T& operator[](int i) { return elements[i]; }
};

/// The dynamic shared memory of the launch, as elements of T; it begins at a multiple of 128 bytes.
template <class T>
struct DynamicShared {
  T* elements;
  __device__ T& operator[](int i) const { return elements[i]; }
};
template <class T>
__device__ DynamicShared<T> dynamic_shared() {
  extern __shared__ __align__(128) uint4 selenite_dynamic_shared[];
  return {reinterpret_cast<T*>(selenite_dynamic_shared)};
}

/// A contract: `p` is a multiple of sizeof(Unit).
template <class Unit>
__device__ void expect_aligned(void const*) {}

/// 2^x by the special function unit alone: within 2 roundings, and 0 below 2^-126.
__device__ inline float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Loads that come later are not moved before this.
__device__ inline void keep_loads_behind() { asm volatile("" ::: "memory"); }

/// The larger of two, or the one that is a number.
__device__ inline float larger(float a, float b) { return fmaxf(a, b); }

/// Byte i of the result is byte (selector >> 4 i) % 8 of the two words, those of `a` first.
__device__ inline std::uint32_t pick_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  return __byte_perm(a, b, selector);
}

}  // namespace selenite
#endif
