#include <cmath>

#include "core/cpu.hpp"
#include "core/pieces.hpp"
#include "core/simd.hpp"
#include "kernels/rotary/rotary.hpp"

namespace selenite {
namespace {

using namespace simd;

/// Cosine and sine of an angle of at most 2^30 in absolute value, in double without libm, so that a loop over them
/// vectorizes: angle = n pi/2 + r with |r| <= pi/4 (pi/2 in three parts), Taylor series to r^13, then turned by n
/// quarters. Absolute error 1e-11, far below what fp32 keeps.
SELENITE_INLINE void turn(double angle, float& cosine, float& sine) {
  double const shifted = angle * 0.63661977236758134308 + 6755399441055744.0, n = shifted - 6755399441055744.0;
  double const r =
      ((angle - n * 1.57079632673412561417) - n * 6.07710050630396597660e-11) - n * 2.02226624879595063154e-21;
  double const r2 = r * r;
  double const s =
      r * (1 + r2 * (-1.0 / 6 + r2 * (1.0 / 120 + r2 * (-1.0 / 5040 + r2 * (1.0 / 362880 + r2 * (-1.0 / 39916800))))));
  double const c =
      1 + r2 * (-0.5 + r2 * (1.0 / 24 +
                             r2 * (-1.0 / 720 + r2 * (1.0 / 40320 + r2 * (-1.0 / 3628800 + r2 * (1.0 / 479001600))))));
  auto const quarter = std::bit_cast<std::uint64_t>(shifted);
  bool const swap = quarter & 1, negate_cosine = (quarter + 1) & 2, negate_sine = quarter & 2;
  double const cos_turned = swap ? s : c, sin_turned = swap ? c : s;
  cosine = static_cast<float>(negate_cosine ? -cos_turned : cos_turned);
  sine = static_cast<float>(negate_sine ? -sin_turned : sin_turned);
}

/// Turns pairs [first, first + count) of all heads of one token.
template <class T>
void rotate_token(T* x, Rotary const& op, float const* cosines, float const* sines, std::int64_t first,
                  std::int64_t count) {
  std::int64_t const half = op.head_dim / 2;
  for (std::int64_t h = 0; h < op.x.cols(); h += op.head_dim) {
    T *const low = x + h + first, *const high = low + half;
    for_lanes(count, [&](auto i, auto part) SELENITE_LAMBDA {
      Floats const a = load(low + i, part), b = load(high + i, part), c = load(cosines + i, part),
                   s = load(sines + i, part);
      store(low + i, a * c - b * s, part);
      store(high + i, b * c + a * s, part);
    });
  }
}

template <class T>
void rotate(Rotary const& op, double const* frequencies, std::int64_t t) {
  constexpr std::int64_t chunk = 128;
  float cosines[chunk], sines[chunk];
  double const position = op.positions.data<std::int32_t>()[t];
  for (std::int64_t first = 0; first < op.head_dim / 2; first += chunk) {
    std::int64_t const count = std::min(chunk, op.head_dim / 2 - first);
    for (std::int64_t i = 0; i < count; ++i) turn(position * frequencies[first + i], cosines[i], sines[i]);
    rotate_token(row<T>(op.x, t), op, cosines, sines, first, count);
  }
}

}  // namespace

void launch(Cpu& cpu, Rotary const& op) {
  EXPECTS(op.head_dim % 2 == 0 && op.x.cols() % op.head_dim == 0);
  auto* const frequencies = reinterpret_cast<double*>(cpu.workspace.data());
  for (std::int64_t i = 0; i < op.head_dim / 2; ++i)
    frequencies[i] =
        (op.inverse ? -1 : 1) * std::pow(op.base, -2.0 * static_cast<double>(i) / static_cast<double>(op.head_dim));
  visit_float(op.x.dtype(), [&]<class T>(T) {
    parallel_for(op.x.rows(), rows_a_piece(op.x.cols()), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t t = first; t < last; ++t) rotate<T>(op, frequencies, t);
    });
  });
}

Cost cost(Rotary const& op) {
  return {.work = Work::stream, .bytes = static_cast<double>(2 * op.x.bytes() + op.positions.bytes())};
}
std::int64_t workspace(Rotary const& op, std::int64_t) { return op.head_dim / 2 * size_of(DType::fp64); }

}  // namespace selenite
