#include <cmath>

#include "core/element.hpp"
#include "kernels/activation/activation.hpp"

namespace selenite {
namespace {

constexpr double sqrt_2_over_pi = 0.79788456080286535588, inverse_sqrt_2pi = 0.39894228040143267794;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// (1 + tanh(u)) / 2 is the logistic function of 2u, which keeps its digits where tanh is near -1.
double gelu(double x) { return x * sigmoid(2 * sqrt_2_over_pi * (x + 0.044715 * x * x * x)); }
double gelu_slope(double x) {
  double const v = 2 * sqrt_2_over_pi * (x + 0.044715 * x * x * x);
  return sigmoid(v) + x * sigmoid(v) * sigmoid(-v) * 2 * sqrt_2_over_pi * (1 + 3 * 0.044715 * x * x);
}
double phi(double x) { return 0.5 * std::erfc(-x * std::sqrt(0.5)); }
double gelu_erf_slope(double x) { return phi(x) + x * inverse_sqrt_2pi * std::exp(-0.5 * x * x); }

}  // namespace

void reference(Activation const& op) {
  std::int64_t const features = op.y.cols();
  for (std::int64_t t = 0; t < op.y.rows(); ++t) {
    for (std::int64_t i = 0; i < features; ++i) {
      double const x = load(op.x, t, i);
      switch (op.kind) {
        case ActivationKind::gelu:
          store(op.y, t, i, gelu(x));
          break;
        case ActivationKind::gelu_erf:
          store(op.y, t, i, x * phi(x));
          break;
        case ActivationKind::swiglu:
          store(op.y, t, i, x * sigmoid(x) * load(op.x, t, i + features));
          break;
      }
    }
  }
}

void reference(ActivationBackward const& op) {
  std::int64_t const features = op.dy.cols();
  for (std::int64_t t = 0; t < op.dy.rows(); ++t) {
    for (std::int64_t i = 0; i < features; ++i) {
      double const x = load(op.x, t, i), dy = load(op.dy, t, i);
      switch (op.kind) {
        case ActivationKind::gelu:
          store(op.dx, t, i, dy * gelu_slope(x));
          break;
        case ActivationKind::gelu_erf:
          store(op.dx, t, i, dy * gelu_erf_slope(x));
          break;
        case ActivationKind::swiglu: {
          double const up = load(op.x, t, i + features), s = sigmoid(x);
          store(op.dx, t, i, dy * up * s * (1 + x * (1 - s)));
          store(op.dx, t, i + features, dy * x * s);
          break;
        }
      }
    }
  }
}

}  // namespace selenite
