#pragma once
#include "core/dtype.hpp"

// Conversions of bfloat16 as the toolkit names them, by the project's own type.
struct __nv_bfloat16 {
  selenite::bf16 value;
};
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {selenite::bf16(x)}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.value.bits; }
