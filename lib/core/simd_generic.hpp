#pragma once
// The primitives of core/simd.hpp for any processor that the compiler has vectors for: 4 floats a vector, no
// intrinsics.
#include "core/simd_types.hpp"

#ifndef SELENITE_SIMD
#define SELENITE_SIMD generic
namespace selenite::simd {
inline namespace SELENITE_SIMD {

SELENITE_SIMD_TYPES(4)

SELENITE_INLINE Words widen(Halves h) { return __builtin_convertvector(h, Words); }
SELENITE_INLINE Halves narrow(Words w) { return __builtin_convertvector(w, Halves); }
SELENITE_INLINE Floats from_fp16(Halves h) {
  Floats v;
  for (int i = 0; i < lanes; ++i) v[i] = static_cast<float>(std::bit_cast<fp16>(static_cast<std::uint16_t>(h[i])));
  return v;
}
SELENITE_INLINE Halves to_fp16(Floats v) {
  Halves h;
  for (int i = 0; i < lanes; ++i) h[i] = fp16(v[i]).bits;
  return h;
}
SELENITE_INLINE Floats maximum(Floats a, Floats b) { return a > b ? a : b; }
SELENITE_INLINE Floats square_root(Floats v) {
  for (int i = 0; i < lanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
}
SELENITE_INLINE Doubles square_root(Doubles v) {
  for (int i = 0; i < lanes / 2; ++i) v[i] = __builtin_sqrt(v[i]);
  return v;
}
/// a * b + c, rounded once.
SELENITE_INLINE Doubles fused(Doubles a, Doubles b, Doubles c) {
  for (int i = 0; i < lanes / 2; ++i) c[i] = __builtin_fma(a[i], b[i], c[i]);
  return c;
}
/// a0 b0 a1 b1 ...
SELENITE_INLINE void interleave(Longs a, Longs b, Longs& first, Longs& second) {
  first = Longs{a[0], b[0]}, second = Longs{a[1], b[1]};
}
/// Products of the low 32 bits of each 64-bit lane.
SELENITE_INLINE Longs multiply_low(Longs a, Longs b) { return (a & 0xffffffffu) * (b & 0xffffffffu); }
SELENITE_INLINE void stream(float* p, Floats v) { *reinterpret_cast<FloatsIn*>(p) = v; }
SELENITE_INLINE void stream(std::uint16_t* p, Halves h) { *reinterpret_cast<HalvesIn*>(p) = h; }
SELENITE_INLINE void stream_fence() {}

/// t as a whole number and a fraction of [-1/2, 1/2], for 2^t = 2^fraction 2^whole; `whole` is in the low bits of its
/// lanes. For t below -125.5, those of that.
struct Split {
  Floats fraction, whole;
};
inline constexpr bool fractions_from_0 = false;
SELENITE_INLINE Split split(Floats t) {
  Floats const bounded = maximum(Floats{} - 125.5f, t), whole = bounded + 12582912.0f;  // 1.5 * 2^23
  return {bounded - (whole - 12582912.0f), whole};
}
/// v 2^whole, for v near 1: an addition to the bits of the exponent.
SELENITE_INLINE Floats times_power(Floats v, Split t) { return (Floats)((Words)v + ((Words)t.whole << 23)); }

/// Elsewhere: keeps denormal numbers from being slow. Here split makes none.
struct FlushDenormals {
  FlushDenormals() {}  // not trivial: a variable that is only there to live
};

/// a * b + c is rounded once.
#ifdef __FP_FAST_FMAF
inline constexpr bool has_fma = true;
#else
inline constexpr bool has_fma = false;
#endif

}  // namespace SELENITE_SIMD
}  // namespace selenite::simd
#endif
