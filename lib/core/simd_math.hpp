#pragma once
#include "core/simd.hpp"

namespace selenite::simd {
inline namespace SELENITE_SIMD {

/// e^x to 2 ulp for x in [-87, 88]; 0 below, e^88 above, NaN for NaN. x = n ln 2 + r, |r| <= ln 2 / 2, Taylor-like
/// minimax of e^r, scaled by 2^n in the exponent bits.
SELENITE_INLINE Floats exp(Floats x) {
  Floats const bounded = x > 88.0f ? broadcast(88.0f) : x;
  Floats const z = bounded * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the low bits are round(x / ln 2)
  Floats const n = z - 12582912.0f;
  Floats const r = (bounded - n * 0.693145751953125f) - n * 1.42860677e-6f;
  Floats p = r * 1.38888889e-3f + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  Floats const scale = as_floats((as_words(z) << 23) + 0x3f800000u);
  return x < -87.0f ? Floats{} : p * scale;
}

/// 1 / (1 + e^-x)
SELENITE_INLINE Floats sigmoid(Floats x) { return 1.0f / (1.0f + exp(-x)); }

}  // namespace SELENITE_SIMD
}  // namespace selenite::simd
