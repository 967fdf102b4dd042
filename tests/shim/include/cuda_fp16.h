#pragma once
#include "core/dtype.hpp"

// Conversions of binary16 as the toolkit names them, by the project's own type.
struct __half {
  selenite::fp16 value;
};
inline __half __float2half_rn(float x) { return {selenite::fp16(x)}; }
inline unsigned short __half_as_ushort(__half x) { return x.value.bits; }
inline __half __ushort_as_half(unsigned short bits) {
  __half x;
  x.value.bits = bits;
  return x;
}
inline float __half2float(__half x) { return static_cast<float>(x.value); }
struct __half2 {
  __half x, y;
};
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
