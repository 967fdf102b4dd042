#include <cmath>

#include "core/element.hpp"
#include "kernels/rotary/rotary.hpp"

namespace selenite {

void reference(Rotary const& op) {
  std::int64_t const half = op.head_dim / 2, heads = op.x.cols() / op.head_dim;
  for (std::int64_t t = 0; t < op.x.rows(); ++t) {
    for (std::int64_t i = 0; i < half; ++i) {
      double const exponent = -2.0 * static_cast<double>(i) / static_cast<double>(op.head_dim);
      double const angle = (op.inverse ? -1 : 1) * load(op.positions, t) * std::pow(op.base, exponent);
      double const c = std::cos(angle), s = std::sin(angle);
      for (std::int64_t h = 0; h < heads; ++h) {
        std::int64_t const first = h * op.head_dim + i, second = first + half;
        double const a = load(op.x, t, first), b = load(op.x, t, second);
        store(op.x, t, first, a * c - b * s);
        store(op.x, t, second, b * c + a * s);
      }
    }
  }
}

}  // namespace selenite
