#pragma once
#include <cstdint>
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

}  // namespace selenite
