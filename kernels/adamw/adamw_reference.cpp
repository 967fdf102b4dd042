#include <cmath>

#include "core/element.hpp"
#include "kernels/adamw/adamw.hpp"

namespace selenite {

void reference(AdamW const& op) {
  double const scale = load(op.gradient_scale, 0), step = static_cast<double>(op.step);
  if (!std::isfinite(scale)) return;
  double const correction1 = 1 - std::pow(op.beta1, step), correction2 = 1 - std::pow(op.beta2, step);
  for (std::int64_t i = 0; i < op.gradient.count(); ++i) {
    double const g = load(op.gradient, i) * scale;
    double const m = op.beta1 * load(op.m, i) + (1 - op.beta1) * g,
                 v = op.beta2 * load(op.v, i) + (1 - op.beta2) * g * g;
    double master = load(op.master, i);
    master -= op.lr * (m / correction1 / (std::sqrt(v / correction2) + op.eps) + op.weight_decay * master);
    store(op.m, i, m);
    store(op.v, i, v);
    store(op.master, i, master);
    if (op.weight.defined()) store(op.weight, i, load(op.master, i));
  }
}

void reference(Sgd const& op) {
  double const scale = load(op.gradient_scale, 0);
  if (!std::isfinite(scale)) return;
  for (std::int64_t i = 0; i < op.gradient.count(); ++i) {
    double const master = load(op.master, i);
    store(op.master, i, master - op.lr * (load(op.gradient, i) * scale + op.weight_decay * master));
    if (op.weight.defined()) store(op.weight, i, load(op.master, i));
  }
}

}  // namespace selenite
