#include <cmath>

#include "core/cpu.hpp"
#include "core/parallel_for.hpp"
#include "core/simd.hpp"
#include "kernels/adamw/adamw.hpp"

namespace selenite {
namespace {

using namespace simd;

constexpr std::int64_t piece = 32768;

/// The step's constants, folded in double.
struct Factors {
  float scale, beta1, beta2, rest1, rest2, step_size, root_correction, eps, decay;
};
Factors factors(AdamW const& op, float scale) {
  double const step = static_cast<double>(op.step);
  double const correction1 = 1 - std::pow(op.beta1, step), correction2 = 1 - std::pow(op.beta2, step);
  auto f = [](double x) { return static_cast<float>(x); };
  return {scale,
          f(op.beta1),
          f(op.beta2),
          f(1 - op.beta1),
          f(1 - op.beta2),
          f(op.lr / correction1),
          f(1 / std::sqrt(correction2)),
          f(op.eps),
          f(op.lr * op.weight_decay)};
}

/// Elements [first, last); W is the weight's type, float where there is none (`weight` null).
template <class W>
void update(AdamW const& op, Factors const& f, W* weight, std::int64_t first, std::int64_t last) {
  float const* const gradient = op.gradient.data<float>() + first;
  float *const master = op.master.data<float>() + first, *const m = op.m.data<float>() + first,
               *const v = op.v.data<float>() + first;
  for_lanes(last - first, [&](auto i, auto part) SELENITE_LAMBDA {
    Floats const g = load(gradient + i, part) * f.scale;
    Floats const m1 = load(m + i, part) * f.beta1 + g * f.rest1, v1 = load(v + i, part) * f.beta2 + g * g * f.rest2;
    Floats w = load(master + i, part);
    w -= w * f.decay + f.step_size * m1 / (square_root(v1) * f.root_correction + f.eps);
    store(m + i, m1, part);
    store(v + i, v1, part);
    store(master + i, w, part);
    if (weight) store(weight + first + i, w, part);
  });
}

template <class W>
void descend(Sgd const& op, float scale, W* weight, std::int64_t first, std::int64_t last) {
  float const* const gradient = op.gradient.data<float>() + first;
  float* const master = op.master.data<float>() + first;
  auto const lr = static_cast<float>(op.lr), decay = static_cast<float>(op.lr * op.weight_decay);
  for_lanes(last - first, [&](auto i, auto part) SELENITE_LAMBDA {
    Floats w = load(master + i, part);
    w -= load(gradient + i, part) * scale * lr + w * decay;
    store(master + i, w, part);
    if (weight) store(weight + first + i, w, part);
  });
}

/// Calls f with the weight's pointer, a null float* where master is the weight.
template <class F>
void visit_weight(Tensor const& weight, F&& f) {
  if (!weight.defined()) return f(static_cast<float*>(nullptr));
  visit_float(weight.dtype(), [&]<class W>(W) { f(weight.data<W>()); });
}

}  // namespace

void launch(Cpu&, AdamW const& op) {
  float const scale = *op.gradient_scale.data<float>();
  if (!std::isfinite(scale)) return;
  Factors const f = factors(op, scale);
  visit_weight(op.weight, [&](auto* weight) {
    parallel_for(op.gradient.count(), piece,
                 [&](std::int64_t first, std::int64_t last) { update(op, f, weight, first, last); });
  });
}

void launch(Cpu&, Sgd const& op) {
  float const scale = *op.gradient_scale.data<float>();
  if (!std::isfinite(scale)) return;
  visit_weight(op.weight, [&](auto* weight) {
    parallel_for(op.gradient.count(), piece,
                 [&](std::int64_t first, std::int64_t last) { descend(op, scale, weight, first, last); });
  });
}

Cost cost(AdamW const& op) {
  std::int64_t const read = op.gradient.bytes() + op.master.bytes() + op.m.bytes() + op.v.bytes();
  std::int64_t const written =
      op.master.bytes() + op.m.bytes() + op.v.bytes() + (op.weight.defined() ? op.weight.bytes() : 0);
  return {.work = Work::stream, .bytes = static_cast<double>(read + written)};
}
Cost cost(Sgd const& op) {
  return {.work = Work::stream,
          .bytes = static_cast<double>(op.gradient.bytes() + 2 * op.master.bytes() +
                                       (op.weight.defined() ? op.weight.bytes() : 0))};
}
std::int64_t workspace(AdamW const&, std::int64_t) { return 0; }
std::int64_t workspace(Sgd const&, std::int64_t) { return 0; }

}  // namespace selenite
