#include "core/rng.hpp"

#include "core/simd.hpp"

namespace selenite {
namespace {

// Everything is written once, for V = double and V = a vector of doubles, so that both draw the same bits.
using Doubles = simd::Doubles;
using Longs = simd::Longs;

SELENITE_INLINE double fused(double a, double b, double c) { return std::fma(a, b, c); }
SELENITE_INLINE Doubles fused(Doubles a, Doubles b, Doubles c) { return simd::fused(a, b, c); }
SELENITE_INLINE double square_root(double x) { return std::sqrt(x); }
SELENITE_INLINE Doubles square_root(Doubles x) { return simd::square_root(x); }
SELENITE_INLINE std::uint64_t to_bits(double x) { return std::bit_cast<std::uint64_t>(x); }
SELENITE_INLINE Longs to_bits(Doubles x) { return (Longs)x; }
SELENITE_INLINE double from_bits(std::uint64_t u) { return std::bit_cast<double>(u); }
SELENITE_INLINE Doubles from_bits(Longs u) { return (Doubles)u; }

/// A whole number below 2^52 as a double: it becomes the mantissa of 2^52 + u.
template <class Integers>
SELENITE_INLINE auto to_double(Integers u) {
  return from_bits(u | 0x4330000000000000ull) - 4503599627370496.0;
}

template <class V>
SELENITE_INLINE V horner(std::array<double, 8> const& c, V x) {
  V y = V{} + c[7];
#pragma GCC unroll 7
  for (int i = 6; i >= 0; --i) y = fused(y, x, V{} + c[static_cast<std::size_t>(i)]);
  return y;
}

// Coefficients of AS 241 (Wichura 1988), algorithm PPND16, lowest power first. Its third region, beyond the quantile of
// e^-25, is never reached: the smallest uniform is 2^-33.
constexpr std::array<double, 8> a{3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                  1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                  3.3430575583588128105e+4, 2.5090809287301226727e+3};
constexpr std::array<double, 8> b{1.0,
                                  4.2313330701600911252e+1,
                                  6.8718700749205790830e+2,
                                  5.3941960214247511077e+3,
                                  2.1213794301586595867e+4,
                                  3.9307895800092710610e+4,
                                  2.8729085735721942674e+4,
                                  5.2264952788528545610e+3};
constexpr std::array<double, 8> c{1.42343711074968357734e0,  4.63033784615654529590e0, 5.76949722146069140550e0,
                                  3.64784832476320460504e0,  1.27045825245236838258e0, 2.41780725177450611770e-1,
                                  2.27238449892691845833e-2, 7.74545014278341407640e-4};
constexpr std::array<double, 8> d{1.0,
                                  2.05319162663775882187e0,
                                  1.67638483018380384940e0,
                                  6.89767334985100004550e-1,
                                  1.48103976427480074590e-1,
                                  1.51986665636164571966e-2,
                                  5.47593808499534494600e-4,
                                  1.05075007164441684324e-9};

/// Natural logarithm of x in (0, 1) without libm: x = m 2^k with m in [sqrt(1/2), sqrt(2)), log m = 2
/// atanh((m-1)/(m+1)).
template <class V>
SELENITE_INLINE V exact_bits_log(V x) {
  auto const u = to_bits(x);
  V k = to_double(u >> 52) - 1023.0;
  V m = from_bits((u & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  auto const large = m > 1.4142135623730951;
  m = large ? m * 0.5 : m;
  k = large ? k + 1.0 : k;
  V const t = (m - 1.0) / (m + 1.0), t2 = t * t;
  V series = V{} + 1.0 / 23.0;
#pragma GCC unroll 11
  for (int n = 21; n >= 1; n -= 2) series = fused(series, t2, V{} + 1.0 / n);
  return fused(k, V{} + 0.69314718055994530942, 2.0 * t * series);
}

/// For |q| <= 0.425, q = u - 0.5.
template <class V>
SELENITE_INLINE V central(V q) {
  V const r = fused(-q, q, V{} + 0.180625);
  return q * (horner(a, r) / horner(b, r));
}

/// For the rest.
template <class V>
SELENITE_INLINE V tail(V u) {
  auto const lower = u < 0.5;
  V const r = square_root(-exact_bits_log(lower ? u : 1.0 - u)) - 1.6;
  V const value = horner(c, r) / horner(d, r);
  return lower ? -value : value;
}

/// uniform() of as many words as a vector has doubles.
SELENITE_INLINE Doubles uniforms(std::uint32_t const* words) {
  typedef std::uint32_t WordsInMemory __attribute__((vector_size(2 * simd::lanes), aligned(4), may_alias));
  simd::HalfWords const w = *reinterpret_cast<WordsInMemory const*>(words);
  return (to_double(__builtin_convertvector(w, Longs)) + 0.5) * (1.0 / 4294967296.0);
}
SELENITE_INLINE void store_scaled(float* out, Doubles x, float scale) {
  typedef float FloatsInMemory __attribute__((vector_size(2 * simd::lanes), aligned(4), may_alias));
  *reinterpret_cast<FloatsInMemory*>(out) = __builtin_convertvector(x, simd::HalfFloats) * scale;
}

bool in_tail(std::uint32_t word) { return std::abs(uniform(word) - 0.5) > 0.425; }

/// A block of words, whole vectors: the central formula for all, then the tails (15 %) gathered, computed and put in
/// place.
constexpr std::int64_t step = simd::lanes / 2, block = 512;
void fill_block(std::uint32_t const* words, float* out, std::int64_t count, float scale) {
  std::uint32_t tail_words[block + step];
  float tails[block + step];
  std::int32_t places[block + 1];
  for (std::int64_t i = 0; i < count; i += step) store_scaled(out + i, central(uniforms(words + i) - 0.5), scale);
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) {  // without a branch: it would be mispredicted
    places[found] = static_cast<std::int32_t>(i), tail_words[found] = words[i];
    found += in_tail(words[i]);
  }
  for (std::int64_t i = 0; i < step; ++i) tail_words[found + i] = 0;
  for (std::int64_t i = 0; i < found; i += step) store_scaled(tails + i, tail(uniforms(tail_words + i)), scale);
  for (std::int64_t i = 0; i < found; ++i) out[places[i]] = tails[i];
}

}  // namespace

double normal_from_word(std::uint32_t word) {
  return in_tail(word) ? tail(uniform(word)) : central(uniform(word) - 0.5);
}

void normals_from_words(std::uint32_t const* words, float* out, std::int64_t count, float scale) {
  std::int64_t const whole = count / step * step;
  for (std::int64_t i = 0; i < whole; i += block) fill_block(words + i, out + i, std::min(block, whole - i), scale);
  for (std::int64_t i = whole; i < count; ++i) out[i] = static_cast<float>(normal_from_word(words[i])) * scale;
}

}  // namespace selenite
