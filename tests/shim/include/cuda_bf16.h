#pragma once
#include "core/dtype.hpp"

// Conversions of bfloat16 as the toolkit names them, by the project's own type.
struct __nv_bfloat16 {
  selenite::bf16 value;
};
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {selenite::bf16(x)}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.value.bits; }
struct __nv_bfloat162 {
  __nv_bfloat16 x, y;
};
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
