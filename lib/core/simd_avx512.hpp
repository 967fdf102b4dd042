#pragma once
// The primitives of core/simd.hpp for x86 with AVX-512 (F, BW, DQ, VL): 16 floats a vector.
#if defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#define SELENITE_SIMD avx512
#include <immintrin.h>

#include "core/simd_types.hpp"

namespace selenite::simd {
inline namespace SELENITE_SIMD {

SELENITE_SIMD_TYPES(16)

// The forms with a full mask are the plain instructions; GCC 12's plain forms warn of uninitialized values of their
// own.

SELENITE_INLINE Words widen(Halves h) { return (Words)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)h); }
SELENITE_INLINE Halves narrow(Words w) { return (Halves)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)w); }
SELENITE_INLINE Floats from_fp16(Halves h) { return _mm512_maskz_cvtph_ps(0xffff, (__m256i)h); }
SELENITE_INLINE Halves to_fp16(Floats v) { return (Halves)_mm512_maskz_cvtps_ph(0xffff, v, _MM_FROUND_TO_NEAREST_INT); }
SELENITE_INLINE Floats maximum(Floats a, Floats b) { return _mm512_maskz_max_ps(0xffff, a, b); }
SELENITE_INLINE Floats square_root(Floats v) { return _mm512_maskz_sqrt_ps(0xffff, v); }
SELENITE_INLINE Doubles square_root(Doubles v) { return _mm512_maskz_sqrt_pd(0xff, v); }
SELENITE_INLINE Doubles fused(Doubles a, Doubles b, Doubles c) { return _mm512_fmadd_pd(a, b, c); }
/// a0 b0 a1 b1 ...
SELENITE_INLINE void interleave(Longs a, Longs b, Longs& first, Longs& second) {
  first = __builtin_shuffle(a, b, Longs{0, 8, 1, 9, 2, 10, 3, 11});
  second = __builtin_shuffle(a, b, Longs{4, 12, 5, 13, 6, 14, 7, 15});
}
/// Products of the low 32 bits of each 64-bit lane.
SELENITE_INLINE Longs multiply_low(Longs a, Longs b) {
  return (Longs)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);
}
SELENITE_INLINE void stream(float* p, Floats v) { _mm512_stream_ps(p, v); }
SELENITE_INLINE void stream(std::uint16_t* p, Halves h) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)h);
}
SELENITE_INLINE void stream_fence() { _mm_sfence(); }

/// t as the whole number below it and a fraction of [0, 1), for 2^t = 2^fraction 2^whole; `whole` holds t itself.
struct Split {
  Floats fraction, whole;
};
inline constexpr bool fractions_from_0 = true;
SELENITE_INLINE Split split(Floats t) { return {_mm512_maskz_reduce_ps(0xffff, t, _MM_FROUND_TO_NEG_INF), t}; }
/// v 2^whole, which may become a denormal number.
SELENITE_INLINE Floats times_power(Floats v, Split t) { return _mm512_maskz_scalef_ps(0xffff, v, t.whole); }

/// While one lives, results too small for a normal number are 0, and cost nothing: denormal ones take 150 cycles.
class FlushDenormals {
 public:
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8000u); }
  ~FlushDenormals() { _mm_setcsr(before_); }
  FlushDenormals(FlushDenormals const&) = delete;
  FlushDenormals& operator=(FlushDenormals const&) = delete;

 private:
  unsigned before_;
};

/// a * b + c is rounded once.
inline constexpr bool has_fma = true;

}  // namespace SELENITE_SIMD
}  // namespace selenite::simd
#endif
