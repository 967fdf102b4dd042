#include <cmath>

#include "kernels/adamw/adamw.hpp"
#include "kernels/cuda/map.cuh"

namespace selenite {
namespace {

// Every multiply-add is an explicit fmaf, so that an element's bits do not depend on whether it lies in a pack.

/// The step's constants, folded in double.
struct Factors {
  float beta1, beta2, rest1, rest2, step_size, root_correction, eps, decay;
};
Factors factors(AdamW const& op) {
  double const step = static_cast<double>(op.step);
  double const correction1 = 1 - std::pow(op.beta1, step), correction2 = 1 - std::pow(op.beta2, step);
  auto f = [](double x) { return static_cast<float>(x); };
  return {f(op.beta1),
          f(op.beta2),
          f(1 - op.beta1),
          f(1 - op.beta2),
          f(op.lr / correction1),
          f(1 / std::sqrt(correction2)),
          f(op.eps),
          f(op.lr * op.weight_decay)};
}

/// W is the weight's type, float where master is the weight (weight null).
template <class W>
struct AdamWBody {
  float const *gradient, *gradient_scale;
  float *master, *m, *v;
  W* weight;
  Factors f;
  template <int width>
  __device__ void apply(std::int64_t, std::int64_t first) const {
    float const scale = *gradient_scale;
    if (!isfinite(scale)) return;
    FloatPack<width> const g = load_pack<width>(gradient + first);
    FloatPack<width> m1 = load_pack<width>(m + first), v1 = load_pack<width>(v + first),
                     w = load_pack<width>(master + first);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      float const gi = g.at[i] * scale;
      m1.at[i] = fmaf(m1.at[i], f.beta1, gi * f.rest1);
      v1.at[i] = fmaf(v1.at[i], f.beta2, gi * gi * f.rest2);
      float const step = f.step_size * m1.at[i] / fmaf(sqrtf(v1.at[i]), f.root_correction, f.eps);
      w.at[i] -= fmaf(w.at[i], f.decay, step);
    }
    store_pack<width>(m + first, m1);
    store_pack<width>(v + first, v1);
    store_pack<width>(master + first, w);
    if (weight) store_floats<width>(weight + first, w);
  }
};

template <class W>
struct SgdBody {
  float const *gradient, *gradient_scale;
  float* master;
  W* weight;
  float lr, decay;
  template <int width>
  __device__ void apply(std::int64_t, std::int64_t first) const {
    float const scale = *gradient_scale;
    if (!isfinite(scale)) return;
    FloatPack<width> const g = load_pack<width>(gradient + first);
    FloatPack<width> w = load_pack<width>(master + first);
#pragma unroll
    for (int i = 0; i < width; ++i) w.at[i] -= fmaf(g.at[i] * scale, lr, w.at[i] * decay);
    store_pack<width>(master + first, w);
    if (weight) store_floats<width>(weight + first, w);
  }
};

/// f with the weight's pointer, a null float* where master is the weight.
template <class F>
void visit_weight(Tensor const& weight, F&& f) {
  if (!weight.defined()) return f(static_cast<float*>(nullptr));
  visit_device_float(weight.dtype(), [&]<class W>(W) { f(weight.data<W>()); });
}

}  // namespace

void launch(Cuda& cuda, AdamW const& op) {
  visit_weight(op.weight, [&]<class W>(W* weight) {
    AdamWBody<W> const body{data_of<float const>(op.gradient),
                            data_of<float const>(op.gradient_scale),
                            data_of<float>(op.master),
                            data_of<float>(op.m),
                            data_of<float>(op.v),
                            weight,
                            factors(op)};
    bool const packs = rows_take(4, op.gradient, op.master, op.m, op.v, op.weight);
    map<4>(cuda, 1, op.gradient.count(), packs, body);
  });
}

void launch(Cuda& cuda, Sgd const& op) {
  visit_weight(op.weight, [&]<class W>(W* weight) {
    SgdBody<W> const body{data_of<float const>(op.gradient), data_of<float const>(op.gradient_scale),
                          data_of<float>(op.master),         weight,
                          static_cast<float>(op.lr),         static_cast<float>(op.lr * op.weight_decay)};
    map<4>(cuda, 1, op.gradient.count(), rows_take(4, op.gradient, op.master, op.weight), body);
  });
}

}  // namespace selenite
