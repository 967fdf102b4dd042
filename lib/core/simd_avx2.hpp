#pragma once
// The primitives of core/simd.hpp for x86 with AVX2, FMA and F16C (x86-64-v3): 8 floats a vector.
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && !defined(__AVX512BW__)
#define SELENITE_SIMD avx2
#include <immintrin.h>

#include "core/simd_types.hpp"

namespace selenite::simd {
inline namespace SELENITE_SIMD {

SELENITE_SIMD_TYPES(8)

SELENITE_INLINE Words widen(Halves h) { return (Words)_mm256_cvtepu16_epi32((__m128i)h); }
SELENITE_INLINE Halves narrow(Words w) {
  return (Halves)_mm_packus_epi32(_mm256_castsi256_si128((__m256i)w), _mm256_extracti128_si256((__m256i)w, 1));
}
SELENITE_INLINE Floats from_fp16(Halves h) { return _mm256_cvtph_ps((__m128i)h); }
SELENITE_INLINE Halves to_fp16(Floats v) { return (Halves)_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT); }
SELENITE_INLINE Floats maximum(Floats a, Floats b) { return _mm256_max_ps(a, b); }
SELENITE_INLINE Floats square_root(Floats v) { return _mm256_sqrt_ps(v); }
SELENITE_INLINE Doubles square_root(Doubles v) { return _mm256_sqrt_pd(v); }
SELENITE_INLINE Doubles fused(Doubles a, Doubles b, Doubles c) { return _mm256_fmadd_pd(a, b, c); }
/// a0 b0 a1 b1 ...
SELENITE_INLINE void interleave(Longs a, Longs b, Longs& first, Longs& second) {
  __m256i const low = _mm256_unpacklo_epi64((__m256i)a, (__m256i)b),
                high = _mm256_unpackhi_epi64((__m256i)a, (__m256i)b);
  first = (Longs)_mm256_permute2x128_si256(low, high, 0x20), second = (Longs)_mm256_permute2x128_si256(low, high, 0x31);
}
/// Products of the low 32 bits of each 64-bit lane.
SELENITE_INLINE Longs multiply_low(Longs a, Longs b) { return (Longs)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
SELENITE_INLINE void stream(float* p, Floats v) { _mm256_stream_ps(p, v); }
SELENITE_INLINE void stream(std::uint16_t* p, Halves h) { _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)h); }
SELENITE_INLINE void stream_fence() { _mm_sfence(); }

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
inline constexpr bool has_fma = true;

}  // namespace SELENITE_SIMD
}  // namespace selenite::simd
#endif
