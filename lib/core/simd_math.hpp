#pragma once
#include <cmath>

#include "core/simd.hpp"

namespace selenite::simd {
inline namespace SELENITE_SIMD {

/// e^x to 2 ulp for x in [-87, 88]; 0 below, e^88 above, NaN for NaN. x = n ln 2 + r with |r| <= ln 2 / 2; e^r is a
/// Chebyshev fit of degree 6 (relative error 2e-9 before rounding); 2^n is made in the exponent bits.
SELENITE_INLINE Floats exp(Floats x) {
  Floats const bounded = x > 88.0f ? broadcast(88.0f) : x;
  Floats const z = bounded * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the low bits are round(x / ln 2)
  Floats const n = z - 12582912.0f;
  Floats const r = (bounded - n * 0.693145751953125f) - n * 1.42860677e-6f;
  Floats p = r * 1.394215983e-3f + 8.375968226e-3f;
  p = p * r + 4.166634014e-2f;
  p = p * r + 1.66664053e-1f;
  p = p * r + 0.500000005f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  Floats const scale = as_floats((as_words(z) << 23) + 0x3f800000u);
  return x < -87.0f ? Floats{} : p * scale;
}

/// Minimax fits of 2^fraction over the two ranges that fractions come in (relative error 7.5e-8).
inline constexpr float from_0[] = {0.999999925f,  0.693153073f,   0.240153617f,
                                   0.0558263181f, 0.00898934009f, 0.00187757667f};
inline constexpr float around_0[] = {1.00000007f,   0.693146967f,   0.240221197f,
                                     0.0555071327f, 0.00967554133f, 0.0013276472f};

/// The terms of a softmax: e^(x - pivot) but for a factor near 1 that is the same for all x, so that the subtraction
/// goes into the multiplication by log2_e. exp_softmax(x, pivot) * softmax_factor(pivot, y) is e^(x - y): to 3 ulp near
/// 0 and with an absolute error of 1e-7 of 1 below; next to nothing (1.7e-38) or, under FlushDenormals, nothing for all
/// that is less; NaN for NaN. x - pivot must be 87 at most (mostly <= 0).
inline constexpr float log2_e = 1.44269504f;
SELENITE_INLINE Floats exp_softmax(Floats x, float pivot) {
  constexpr auto const& c = fractions_from_0 ? from_0 : around_0;
  Split const t = split(has_fma ? x * log2_e - pivot * log2_e : (x - pivot) * log2_e);
  Floats p = t.fraction * c[5] + c[4];
  p = p * t.fraction + c[3];
  p = p * t.fraction + c[2];
  p = p * t.fraction + c[1];
  p = p * t.fraction + c[0];
  return times_power(p, t);
}
/// Takes log2_e as the float that it is (off by 1.3e-8 of it): so only the difference x - y feels that.
inline double softmax_factor(float pivot, float y) {
  double const subtracted = has_fma ? static_cast<double>(pivot * log2_e) : static_cast<double>(pivot) * log2_e;
  return std::exp2(subtracted - static_cast<double>(y) * log2_e);
}

/// The logistic function 1 / (1 + e^-x), and 1 minus it without cancellation.
struct Logistic {
  Floats value, rest;
};
SELENITE_INLINE Logistic logistic(Floats x) {
  Floats const e = exp(-x), s = 1.0f / (1.0f + e);
  return {s, s * e};
}

/// The normal distribution and its density at x.
struct Normal {
  Floats distribution, density;
};
/// Phi(-|x|) = erfcx(z) e^(-z^2) / 2 with z = |x| / sqrt(2); erfcx(z) / t is a Chebyshev fit of degree 9 in
/// t = 1 / (1 + 0.4 z), relative error 3e-8 before rounding, so that the lower tail keeps its digits.
SELENITE_INLINE Normal normal(Floats x) {
  Floats const magnitude = as_floats(as_words(x) & 0x7fffffffu);
  Floats const t = 1.0f / (1.0f + magnitude * 0.282842712f), bell = exp(x * x * -0.5f);
  Floats p = t * -0.0165137858f + 0.128142763f;
  p = p * t - 0.338136489f;
  p = p * t + 0.339377442f;
  p = p * t - 0.117816991f;
  p = p * t + 0.186941832f;
  p = p * t + 0.157344636f;
  p = p * t + 0.209426691f;
  p = p * t + 0.225554867f;
  p = p * t + 0.225679054f;
  Floats const lower = 0.5f * bell * (p * t);
  return {x > 0.0f ? 1.0f - lower : lower, bell * 0.398942280f};
}

}  // namespace SELENITE_SIMD
}  // namespace selenite::simd
