#include "kernels/activation/activation.hpp"
#include "kernels/cuda/map.cuh"

namespace selenite {
namespace {

// As on the CPU: 0.5 (1 + tanh(u)) is the logistic function of 2u, which keeps the digits of the lower tail.
constexpr float twice_sqrt_2_over_pi = 1.59576912f, cubic = 0.044715f, inverse_sqrt_2pi = 0.398942280f,
                inverse_sqrt_2 = 0.707106781f;

// Elements of 16 bits come and go twice as fast as those of 32, and leave half the instructions for each.
template <class T>
constexpr bool is_short = sizeof(T) == 2;

template <class T>
__device__ float exponential(float x) {
  if constexpr (is_short<T>)
    return __expf(x);
  else
    return expf(x);
}

/// 1 / (1 + e^-x), and 1 minus that.
struct Logistic {
  float value, rest;
};
template <class T>
__device__ Logistic logistic(float x) {
  float const e = exponential<T>(-fabsf(x)), large = __fdividef(1.0f, 1.0f + e), small = e * large;
  return x < 0 ? Logistic{small, large} : Logistic{large, small};
}

template <class T>
struct Gelu {
  static __device__ float value(float x) {
    return x * logistic<T>(x * (twice_sqrt_2_over_pi + twice_sqrt_2_over_pi * cubic * (x * x))).value;
  }
  static __device__ float slope(float x) {
    float const x2 = x * x;
    Logistic const s = logistic<T>(x * (twice_sqrt_2_over_pi + twice_sqrt_2_over_pi * cubic * x2));
    return s.value + x * s.value * s.rest * (twice_sqrt_2_over_pi + 3 * twice_sqrt_2_over_pi * cubic * x2);
  }
};

template <class T>
struct GeluErf {
  /// The normal distribution up to x, where e = exp(-x^2 / 2).
  static __device__ float distribution(float x, float e) {
    if constexpr (is_short<T>) {  // within 1e-7 (Abramowitz and Stegun 7.1.26)
      float const t = __fdividef(1.0f, fmaf(0.3275911f * inverse_sqrt_2, fabsf(x), 1.0f));
      float p = fmaf(t, 1.061405429f, -1.453152027f);
      p = fmaf(t, p, 1.421413741f), p = fmaf(t, p, -0.284496736f), p = fmaf(t, p, 0.254829592f);
      float const tail = 0.5f * t * p * e;
      return x < 0 ? tail : 1.0f - tail;
    } else {
      return 0.5f * erfcf(-x * inverse_sqrt_2);
    }
  }
  static __device__ float bell(float x) { return exponential<T>(-0.5f * x * x); }
  static __device__ float value(float x) { return x * distribution(x, bell(x)); }
  static __device__ float slope(float x) {
    float const e = bell(x);
    return distribution(x, e) + x * inverse_sqrt_2pi * e;
  }
};

template <class T, class F>
struct ForwardBody {
  RowsOf<T const> x;
  RowsOf<T> y;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    FloatPack<width> v = load_floats<width>(x[row] + col);
#pragma unroll
    for (int i = 0; i < width; ++i) v.at[i] = F::value(v.at[i]);
    store_floats<width>(y[row] + col, v);
  }
};
template <class T, class F>
struct BackwardBody {
  RowsOf<T const> x, dy;
  RowsOf<T> dx;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    FloatPack<width> const v = load_floats<width>(x[row] + col);
    FloatPack<width> d = load_floats<width>(dy[row] + col);
#pragma unroll
    for (int i = 0; i < width; ++i) d.at[i] *= F::slope(v.at[i]);
    store_floats<width>(dx[row] + col, d);
  }
};

/// The gate in the first half of x's columns, up in the second.
template <class T>
struct SwigluBody {
  RowsOf<T const> gate, up;
  RowsOf<T> y;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    FloatPack<width> g = load_floats<width>(gate[row] + col);
    FloatPack<width> const u = load_floats<width>(up[row] + col);
#pragma unroll
    for (int i = 0; i < width; ++i) g.at[i] = g.at[i] * logistic<T>(g.at[i]).value * u.at[i];
    store_floats<width>(y[row] + col, g);
  }
};
template <class T>
struct SwigluBackwardBody {
  RowsOf<T const> gate, up, dy;
  RowsOf<T> dgate, dup;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    FloatPack<width> g = load_floats<width>(gate[row] + col), u = load_floats<width>(up[row] + col);
    FloatPack<width> const d = load_floats<width>(dy[row] + col);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      Logistic const s = logistic<T>(g.at[i]);
      float const silu = g.at[i] * s.value, slope = s.value + silu * s.rest;
      g.at[i] = d.at[i] * u.at[i] * slope;
      u.at[i] = d.at[i] * silu;
    }
    store_floats<width>(dgate[row] + col, g);
    store_floats<width>(dup[row] + col, u);
  }
};

template <class T, class F>
void forward(Cuda const& cuda, Activation const& op) {
  ForwardBody<T, F> const body{rows_of<T const>(op.x), rows_of<T>(op.y)};
  map_tensors<full_width<T>>(cuda, body, op.x, op.y);
}
template <class T, class F>
void backward(Cuda const& cuda, ActivationBackward const& op) {
  BackwardBody<T, F> const body{rows_of<T const>(op.x), rows_of<T const>(op.dy), rows_of<T>(op.dx)};
  map_tensors<full_width<T>>(cuda, body, op.x, op.dy, op.dx);
}

template <class T>
void swiglu(Cuda const& cuda, Activation const& op) {
  std::int64_t const n = op.y.cols();
  Tensor const gate = op.x.columns(0, n), up = op.x.columns(n, n);
  SwigluBody<T> const body{rows_of<T const>(gate), rows_of<T const>(up), rows_of<T>(op.y)};
  map<full_width<T>>(cuda, op.y.rows(), n, rows_take(full_width<T>, gate, up, op.y), body);
}
template <class T>
void swiglu_backward(Cuda const& cuda, ActivationBackward const& op) {
  std::int64_t const n = op.dy.cols();
  Tensor const gate = op.x.columns(0, n), up = op.x.columns(n, n), dgate = op.dx.columns(0, n),
               dup = op.dx.columns(n, n);
  SwigluBackwardBody<T> const body{rows_of<T const>(gate), rows_of<T const>(up), rows_of<T const>(op.dy),
                                   rows_of<T>(dgate), rows_of<T>(dup)};
  map<full_width<T>>(cuda, op.dy.rows(), n, rows_take(full_width<T>, gate, up, op.dy, dgate, dup), body);
}

}  // namespace

void launch(Cuda& cuda, Activation const& op) {
  visit_device_float(op.x.dtype(), [&]<class T>(T) {
    switch (op.kind) {
      case ActivationKind::gelu:
        return forward<T, Gelu<T>>(cuda, op);
      case ActivationKind::gelu_erf:
        return forward<T, GeluErf<T>>(cuda, op);
      case ActivationKind::swiglu:
        return swiglu<T>(cuda, op);
    }
  });
}

void launch(Cuda& cuda, ActivationBackward const& op) {
  visit_device_float(op.x.dtype(), [&]<class T>(T) {
    switch (op.kind) {
      case ActivationKind::gelu:
        return backward<T, Gelu<T>>(cuda, op);
      case ActivationKind::gelu_erf:
        return backward<T, GeluErf<T>>(cuda, op);
      case ActivationKind::swiglu:
        return swiglu_backward<T>(cuda, op);
    }
  });
}

}  // namespace selenite
