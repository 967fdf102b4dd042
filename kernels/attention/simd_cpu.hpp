#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512BF16__) || defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

/// The vectors of the attention kernels, in the compiler's own vector types, so that every instruction set runs the
/// same source. What differs is said here, in the only conditionals of this folder: the width, and whether bf16 pairs
/// are multiplied by one instruction. SELENITE_ATTENTION_PAIRS=1 selects the pair path without that instruction, slow
/// and of the same layout, so that it is tested everywhere.
namespace selenite::attention_cpu {

#if defined(__AVX512F__) || SELENITE_ATTENTION_PAIRS
inline constexpr int lanes = 16;
inline constexpr int tile_rows = 6, tile_vectors = 4;  // 24 of 32 registers hold sums
#else
inline constexpr int lanes = 8;
inline constexpr int tile_rows = 6, tile_vectors = 2;  // 12 of 16
#endif
#if defined(__AVX512BF16__) || SELENITE_ATTENTION_PAIRS
inline constexpr bool bf16_pairs = true;
#else
inline constexpr bool bf16_pairs = false;
#endif

using Floats = float __attribute__((vector_size(4 * lanes)));
using Ints = std::int32_t __attribute__((vector_size(4 * lanes)));
using Words = std::uint32_t __attribute__((vector_size(4 * lanes)));
template <class V, class T>
inline V load_vector(T const* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Floats load_floats(float const* p) { return load_vector<Floats>(p); }
template <class V, class T>
inline void store_vector(T* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

#if defined(__AVX512F__)
inline Floats max(Floats a, Floats b) {  // the masked form: g++ 12 warns of its own undefined operand in the plain one
  return (Floats)_mm512_mask_max_ps((__m512)a, 0xffff, (__m512)a, (__m512)b);
}
#elif defined(__AVX2__) && !SELENITE_ATTENTION_PAIRS
inline Floats max(Floats a, Floats b) { return (Floats)_mm256_max_ps((__m256)a, (__m256)b); }
#else
inline Floats max(Floats a, Floats b) { return a > b ? a : b; }
#endif

/// Rounds to bf16 (nearest even; a NaN may become infinite only if its payload is all ones), in the low half of a word.
inline Words round_bf16(Floats x) {
  Words const u = reinterpret_cast<Words>(x);
  return (u + 0x7fffu + (u >> 16 & 1u)) >> 16;
}

/// Rows become columns.
template <int distance, int... lane>
void exchange(Words (&x)[lanes], std::integer_sequence<int, lane...>) {
  for (int i = 0; i < lanes; ++i) {
    if (i & distance) continue;
    Words const a = x[i], b = x[i + distance];
    x[i] = __builtin_shufflevector(a, b, (lane & distance ? lanes + lane - distance : lane)...);
    x[i + distance] = __builtin_shufflevector(a, b, (lane & distance ? lanes + lane : lane + distance)...);
  }
}
template <int distance = lanes / 2>
void transpose(Words (&x)[lanes]) {
  exchange<distance>(x, std::make_integer_sequence<int, lanes>{});
  if constexpr (distance > 1) transpose<distance / 2>(x);
}

#if defined(__AVX512BF16__) && !SELENITE_ATTENTION_PAIRS
/// acc + the products of the pairs of bf16 in `a` (the same pair for all lanes) and `b`.
inline Floats dot_pairs(Floats acc, std::uint32_t a, Words b) {
  return (Floats)_mm512_dpbf16_ps((__m512)acc, (__m512bh)(Words{} + a), (__m512bh)b);
}
/// Lane by lane the pair (bf16 of `low`, bf16 of `high`).
inline Words pair(Floats low, Floats high) {
  using Halves = std::uint16_t __attribute__((vector_size(64)));
  constexpr Halves interleave{0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                              8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  Halves const both = (Halves)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);  // low 0..15, high 0..15
  return (Words)__builtin_shuffle(both, interleave);
}
/// Writes `lanes` bf16.
inline void store_bf16(void* to, Floats x) {
  __m256i const bits = (__m256i)_mm512_cvtneps_pbh((__m512)x);
  std::memcpy(to, &bits, sizeof bits);
}
#else
inline Floats dot_pairs(Floats acc, std::uint32_t a, Words b) {
  acc += std::bit_cast<float>(a << 16) * reinterpret_cast<Floats>(b << 16);
  return acc + std::bit_cast<float>(a & 0xffff0000u) * reinterpret_cast<Floats>(b & 0xffff0000u);
}
inline Words pair(Floats low, Floats high) { return round_bf16(low) | round_bf16(high) << 16; }
inline void store_bf16(void* to, Floats x) {
  using Halves = std::uint16_t __attribute__((vector_size(2 * lanes)));
  Halves const bits = __builtin_convertvector(round_bf16(x), Halves);
  std::memcpy(to, &bits, sizeof bits);
}
#endif

/// 2^x for x <= 127, within 2 units in the last place; 0 below 2^-125. NaN stays NaN. x = n + f with |f| <= 1/2 by
/// adding 1.5 * 2^23, 2^f by a polynomial (minimax, relative error 2e-8), 2^n into the exponent.
inline Floats exp2(Floats x) {
  constexpr float magic = 12582912.0f;
  Floats const shifted = x + magic;
  Floats const f = x - (shifted - magic);
  Floats y = 1.535336188319500e-4f * f + 1.339887440266574e-3f;
  y = y * f + 9.618437357674640e-3f;
  y = y * f + 5.550332471162809e-2f;
  y = y * f + 2.402264791363012e-1f;
  y = y * f + 6.931472028550421e-1f;
  y = y * f + 1.0f;
  Words const scaled = reinterpret_cast<Words>(y) + (reinterpret_cast<Words>(shifted) << 23);
  return reinterpret_cast<Floats>(scaled & ~reinterpret_cast<Words>(x < -125.0f));
}

}  // namespace selenite::attention_cpu
