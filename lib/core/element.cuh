#pragma once
#include <cstdint>
#include <cstring>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <type_traits>

#include "core/dtype.hpp"

/// One element on the device, as a float and back.
namespace selenite {

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(double x) { return static_cast<float>(x); }
__device__ inline float to_float(bf16 x) { return __uint_as_float(static_cast<std::uint32_t>(x.bits) << 16); }
__device__ inline float to_float(fp16 x) { return __half2float(__ushort_as_half(x.bits)); }

/// Rounded to nearest even; to 8 bits saturated, too.
template <class T>
__device__ T from_float(float x) {
  if constexpr (std::is_same_v<T, bf16>) {
    bf16 y;
    y.bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
    return y;
  } else if constexpr (std::is_same_v<T, fp16>) {
    fp16 y;
    y.bits = __half_as_ushort(__float2half_rn(x));
    return y;
  } else if constexpr (std::is_same_v<T, e4m3> || std::is_same_v<T, e5m2>) {
    T y;
    y.bits = __nv_cvt_float_to_fp8(x, __NV_SATFINITE, std::is_same_v<T, e4m3> ? __NV_E4M3 : __NV_E5M2);
    return y;
  } else {
    return static_cast<T>(x);
  }
}

/// Two numbers rounded so, in neighbouring halves of a register or of its lower half; the first in the lower one.
template <class T>
__device__ std::uint32_t pair_from_floats(float first, float second) {
  std::uint32_t pair = 0;
  if constexpr (std::is_same_v<T, bf16>) {
    __nv_bfloat162 const two = __floats2bfloat162_rn(first, second);
    std::memcpy(&pair, &two, sizeof two);
  } else if constexpr (std::is_same_v<T, fp16>) {
    __half2 const two = __floats2half2_rn(first, second);
    std::memcpy(&pair, &two, sizeof two);
  } else {
    static_assert(std::is_same_v<T, e4m3> || std::is_same_v<T, e5m2>);
    pair = __nv_cvt_float2_to_fp8x2(make_float2(first, second), __NV_SATFINITE,
                                    std::is_same_v<T, e4m3> ? __NV_E4M3 : __NV_E5M2);
  }
  return pair;
}

}  // namespace selenite
