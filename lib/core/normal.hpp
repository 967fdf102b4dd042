#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/rng.hpp"

/// The formulas behind normal_from_word, written once for doubles, for vectors of doubles and for device code, so that
/// all draw the same bits. Math has fused(a, b, c) = a b + c rounded once, square_root, to_bits and from_bits of V.
namespace selenite::normal {

#define SELENITE_NORMAL_INLINE constexpr inline __attribute__((always_inline))

struct ScalarMath {
  static SELENITE_NORMAL_INLINE double fused(double a, double b, double c) { return std::fma(a, b, c); }
  static SELENITE_NORMAL_INLINE double square_root(double x) { return std::sqrt(x); }
  static SELENITE_NORMAL_INLINE std::uint64_t to_bits(double x) { return std::bit_cast<std::uint64_t>(x); }
  static SELENITE_NORMAL_INLINE double from_bits(std::uint64_t u) { return std::bit_cast<double>(u); }
};

/// Coefficients of a polynomial, lowest power first.
struct Polynomial {
  double at[8];
};
/// Horner's rule from power i on.
template <class Math, int i = 0, class V>
SELENITE_NORMAL_INLINE V horner(Polynomial const& c, V x) {
  if constexpr (i == 7)
    return V{} + c.at[7];
  else
    return Math::fused(horner<Math, i + 1>(c, x), x, V{} + c.at[i]);
}
/// The terms t2^k / (2 k + 1) of the series of atanh(t) / t, from 1/n on to 1/23.
template <class Math, int n = 1, class V>
SELENITE_NORMAL_INLINE V atanh_series(V t2) {
  if constexpr (n == 23)
    return V{} + 1.0 / 23.0;
  else
    return Math::fused(atanh_series<Math, n + 2>(t2), t2, V{} + 1.0 / n);
}

/// A whole number below 2^52 as a double: it becomes the mantissa of 2^52 + u.
template <class Math, class Integers>
SELENITE_NORMAL_INLINE auto to_double(Integers u) {
  return Math::from_bits(u | 0x4330000000000000ull) - 4503599627370496.0;
}

/// Natural logarithm of x in (0, 1) without libm: x = m 2^k with m in [sqrt(1/2), sqrt(2)), log m = 2
/// atanh((m-1)/(m+1)).
template <class Math, class V>
SELENITE_NORMAL_INLINE V exact_bits_log(V x) {
  auto const u = Math::to_bits(x);
  V k = to_double<Math>(u >> 52) - 1023.0;
  V m = Math::from_bits((u & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  auto const large = m > 1.4142135623730951;
  m = large ? m * 0.5 : m;
  k = large ? k + 1.0 : k;
  V const t = (m - 1.0) / (m + 1.0), t2 = t * t;
  return Math::fused(k, V{} + 0.69314718055994530942, 2.0 * t * atanh_series<Math>(t2));
}

// Coefficients of AS 241 (Wichura 1988), algorithm PPND16. Its third region, beyond the quantile of e^-25, is never
// reached: the smallest uniform is 2^-33.

/// For |q| <= 0.425, q = u - 0.5.
template <class Math, class V>
SELENITE_NORMAL_INLINE V central(V q) {
  constexpr Polynomial a{{3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3,
                          1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                          3.3430575583588128105e+4, 2.5090809287301226727e+3}};
  constexpr Polynomial b{{1.0, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
                          2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4,
                          5.2264952788528545610e+3}};
  V const r = Math::fused(-q, q, V{} + 0.180625);
  return q * (horner<Math>(a, r) / horner<Math>(b, r));
}

/// For the rest.
template <class Math, class V>
SELENITE_NORMAL_INLINE V tail(V u) {
  constexpr Polynomial c{{1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
                          3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
                          2.27238449892691845833e-2, 7.74545014278341407640e-4}};
  constexpr Polynomial d{{1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
                          1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
                          1.05075007164441684324e-9}};
  auto const lower = u < 0.5;
  V const r = Math::square_root(-exact_bits_log<Math>(lower ? u : 1.0 - u)) - 1.6;
  V const value = horner<Math>(c, r) / horner<Math>(d, r);
  return lower ? -value : value;
}

constexpr bool in_tail(std::uint32_t word) {
  double const q = uniform(word) - 0.5;
  return (q < 0 ? -q : q) > 0.425;
}
template <class Math>
SELENITE_NORMAL_INLINE double from_word(std::uint32_t word) {
  return in_tail(word) ? tail<Math>(uniform(word)) : central<Math>(uniform(word) - 0.5);
}

}  // namespace selenite::normal
