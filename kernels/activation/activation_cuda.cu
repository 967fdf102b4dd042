#include "kernels/activation/activation.hpp"
#include "kernels/cuda/map.cuh"

namespace selenite {
namespace {

// As on the CPU: 0.5 (1 + tanh(u)) is the logistic function of 2u, which keeps the digits of the lower tail.
constexpr float twice_sqrt_2_over_pi = 1.59576912f, cubic = 0.044715f, inverse_sqrt_2pi = 0.398942280f,
                inverse_sqrt_2 = 0.707106781f;

__device__ inline float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

struct Gelu {
  static __device__ float value(float x) {
    return x * logistic(x * (twice_sqrt_2_over_pi + twice_sqrt_2_over_pi * cubic * (x * x)));
  }
  static __device__ float slope(float x) {
    float const x2 = x * x, u = x * (twice_sqrt_2_over_pi + twice_sqrt_2_over_pi * cubic * x2);
    float const s = logistic(u), rest = logistic(-u);
    return s + x * s * rest * (twice_sqrt_2_over_pi + 3 * twice_sqrt_2_over_pi * cubic * x2);
  }
};
struct GeluErf {
  static __device__ float distribution(float x) { return 0.5f * erfcf(-x * inverse_sqrt_2); }
  static __device__ float value(float x) { return x * distribution(x); }
  static __device__ float slope(float x) { return distribution(x) + x * inverse_sqrt_2pi * expf(-0.5f * x * x); }
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
    for (int i = 0; i < width; ++i) g.at[i] = g.at[i] * logistic(g.at[i]) * u.at[i];
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
      float const s = logistic(g.at[i]), silu = g.at[i] * s, slope = s + silu * logistic(-g.at[i]);
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
        return forward<T, Gelu>(cuda, op);
      case ActivationKind::gelu_erf:
        return forward<T, GeluErf>(cuda, op);
      case ActivationKind::swiglu:
        return swiglu<T>(cuda, op);
    }
  });
}

void launch(Cuda& cuda, ActivationBackward const& op) {
  visit_device_float(op.x.dtype(), [&]<class T>(T) {
    switch (op.kind) {
      case ActivationKind::gelu:
        return backward<T, Gelu>(cuda, op);
      case ActivationKind::gelu_erf:
        return backward<T, GeluErf>(cuda, op);
      case ActivationKind::swiglu:
        return swiglu_backward<T>(cuda, op);
    }
  });
}

}  // namespace selenite
