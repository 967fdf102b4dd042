#include "core/cpu.hpp"
#include "core/pieces.hpp"
#include "core/simd_math.hpp"
#include "kernels/activation/activation.hpp"

namespace selenite {
namespace {

using namespace simd;

// 0.5 (1 + tanh(u)) is the logistic function of 2u: one exponential and one division.
constexpr float twice_sqrt_2_over_pi = 1.59576912f, cubic = 0.044715f;

SELENITE_INLINE Floats gelu(Floats x) {
  return x * logistic(x * (twice_sqrt_2_over_pi + twice_sqrt_2_over_pi * cubic * (x * x))).value;
}
SELENITE_INLINE Floats gelu_slope(Floats x) {
  Floats const x2 = x * x;
  Logistic const s = logistic(x * (twice_sqrt_2_over_pi + twice_sqrt_2_over_pi * cubic * x2));
  return s.value + x * s.value * s.rest * (twice_sqrt_2_over_pi + 3 * twice_sqrt_2_over_pi * cubic * x2);
}

/// y[i] = f(x[i]) on all threads.
template <class T, class F>
void map(Tensor const& x, Tensor const& y, F f) {
  for_row_pieces(y.rows(), y.cols(), x.contiguous() && y.contiguous(),
                 [&](std::int64_t r, std::int64_t first, std::int64_t last) {
                   T const* const from = row<T>(x, r) + first;
                   T* const to = row<T>(y, r) + first;
                   for_lanes(last - first,
                             [&](auto i, auto part) SELENITE_LAMBDA { store(to + i, f(load(from + i, part)), part); });
                 });
}
/// dx[i] = dy[i] * slope(x[i]) on all threads.
template <class T, class F>
void map_backward(ActivationBackward const& op, F slope) {
  bool const flat = op.x.contiguous() && op.dy.contiguous() && op.dx.contiguous();
  for_row_pieces(op.dx.rows(), op.dx.cols(), flat, [&](std::int64_t r, std::int64_t first, std::int64_t last) {
    T const *const x = row<T>(op.x, r) + first, *const dy = row<T>(op.dy, r) + first;
    T* const dx = row<T>(op.dx, r) + first;
    for_lanes(last - first, [&](auto i, auto part) SELENITE_LAMBDA {
      store(dx + i, load(dy + i, part) * slope(load(x + i, part)), part);
    });
  });
}

template <class T>
void swiglu(Activation const& op) {
  std::int64_t const n = op.y.cols();
  for_row_pieces(op.y.rows(), n, false, [&](std::int64_t r, std::int64_t first, std::int64_t last) {
    T const *const gate = row<T>(op.x, r) + first, *const up = gate + n;
    T* const y = row<T>(op.y, r) + first;
    for_lanes(last - first, [&](auto i, auto part) SELENITE_LAMBDA {
      Floats const g = load(gate + i, part);
      store(y + i, g * logistic(g).value * load(up + i, part), part);
    });
  });
}
template <class T>
void swiglu_backward(ActivationBackward const& op) {
  std::int64_t const n = op.dy.cols();
  for_row_pieces(op.dy.rows(), n, false, [&](std::int64_t r, std::int64_t first, std::int64_t last) {
    T const *const gate = row<T>(op.x, r) + first, *const up = gate + n, *const dy = row<T>(op.dy, r) + first;
    T *const dgate = row<T>(op.dx, r) + first, *const dup = dgate + n;
    for_lanes(last - first, [&](auto i, auto part) SELENITE_LAMBDA {
      Floats const g = load(gate + i, part), u = load(up + i, part), d = load(dy + i, part);
      Logistic const s = logistic(g);
      Floats const silu = g * s.value;
      store(dgate + i, d * u * (s.value + silu * s.rest), part);
      store(dup + i, d * silu, part);
    });
  });
}

}  // namespace

void launch(Cpu&, Activation const& op) {
  visit_float(op.x.dtype(), [&]<class T>(T) {
    switch (op.kind) {
      case ActivationKind::gelu:
        return map<T>(op.x, op.y, [](Floats x) SELENITE_LAMBDA { return gelu(x); });
      case ActivationKind::gelu_erf:
        return map<T>(op.x, op.y, [](Floats x) SELENITE_LAMBDA { return x * normal(x).distribution; });
      case ActivationKind::swiglu:
        return swiglu<T>(op);
    }
  });
}

void launch(Cpu&, ActivationBackward const& op) {
  visit_float(op.x.dtype(), [&]<class T>(T) {
    switch (op.kind) {
      case ActivationKind::gelu:
        return map_backward<T>(op, [](Floats x) SELENITE_LAMBDA { return gelu_slope(x); });
      case ActivationKind::gelu_erf:
        return map_backward<T>(op, [](Floats x) SELENITE_LAMBDA {
          Normal const n = normal(x);
          return n.distribution + x * n.density;
        });
      case ActivationKind::swiglu:
        return swiglu_backward<T>(op);
    }
  });
}

Cost cost(Activation const& op) {
  return {.work = Work::stream, .bytes = static_cast<double>(op.x.bytes() + op.y.bytes())};
}
Cost cost(ActivationBackward const& op) {
  return {.work = Work::stream, .bytes = static_cast<double>(op.x.bytes() + op.dy.bytes() + op.dx.bytes())};
}
std::int64_t workspace(Activation const&, std::int64_t) { return 0; }
std::int64_t workspace(ActivationBackward const&, std::int64_t) { return 0; }

}  // namespace selenite
