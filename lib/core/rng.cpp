#include "core/rng.hpp"

namespace selenite {
namespace {

template <std::size_t N>
double horner(std::array<double, N> const& c, double x) {
  double y = c[N - 1];
  for (std::size_t i = N - 1; i-- > 0;) y = std::fma(y, x, c[i]);
  return y;
}

// Coefficients of AS 241 (Wichura 1988), algorithm PPND16, lowest power first.
constexpr std::array<double, 8> a{3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3, 1.3731693765509461125e+4,
    4.5921953931549871457e+4, 6.7265770927008700853e+4, 3.3430575583588128105e+4, 2.5090809287301226727e+3};
constexpr std::array<double, 8> b{1.0, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
    2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4, 5.2264952788528545610e+3};
constexpr std::array<double, 8> c{1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
    1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4};
constexpr std::array<double, 8> d{1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
    1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9};
constexpr std::array<double, 8> e{6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
    2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7};
constexpr std::array<double, 8> f{1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
    7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15};

/// Natural logarithm of x in (0, 1) without libm: x = m 2^k with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m-1)/(m+1)).
double exact_bits_log(double x) {
  auto u = std::bit_cast<std::uint64_t>(x);
  auto k = static_cast<std::int64_t>(u >> 52) - 1023;
  double m = std::bit_cast<double>((u & 0xfffffffffffffull) | 0x3ff0000000000000ull);
  if (m > 1.4142135623730951) m *= 0.5, ++k;
  double const t = (m - 1.0) / (m + 1.0), t2 = t * t;
  double series = 1.0 / 23.0;
  for (int n = 21; n >= 1; n -= 2) series = std::fma(series, t2, 1.0 / n);
  return std::fma(static_cast<double>(k), 0.69314718055994530942, 2.0 * t * series);
}

double central(double q) {
  double const r = std::fma(-q, q, 0.180625);
  return q * (horner(a, r) / horner(b, r));
}

double tail(double q, double u) {
  double r = std::sqrt(-exact_bits_log(q < 0 ? u : 1.0 - u));
  double value;
  if (r <= 5.0) {
    r -= 1.6;
    value = horner(c, r) / horner(d, r);
  } else {
    r -= 5.0;
    value = horner(e, r) / horner(f, r);
  }
  return q < 0 ? -value : value;
}

}  // namespace

double normal_from_word(std::uint32_t word) {
  double const u = uniform(word), q = u - 0.5;
  return std::abs(q) <= 0.425 ? central(q) : tail(q, u);
}

void normals_from_words(std::uint32_t const* words, float* out, std::int64_t count, float scale) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(central(uniform(words[i]) - 0.5)) * scale;  // vectorizes
  for (std::int64_t i = 0; i < count; ++i) {
    double const u = uniform(words[i]), q = u - 0.5;
    if (std::abs(q) > 0.425) out[i] = static_cast<float>(tail(q, u)) * scale;
  }
}

}  // namespace selenite
