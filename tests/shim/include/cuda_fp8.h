#pragma once
#include "core/dtype.hpp"

// Conversions to 8 bits as the toolkit names them, by the project's own types.
using __nv_fp8_storage_t = unsigned char;
enum __nv_saturation_t { __NV_NOSAT, __NV_SATFINITE };
enum __nv_fp8_interpretation_t { __NV_E4M3, __NV_E5M2 };
inline __nv_fp8_storage_t __nv_cvt_float_to_fp8(float x, __nv_saturation_t, __nv_fp8_interpretation_t format) {
  return format == __NV_E4M3 ? selenite::e4m3(x).bits : selenite::e5m2(x).bits;
}
