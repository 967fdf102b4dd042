#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// Decoupled AdamW (Loshchilov & Hutter) over one run of a flat buffer: with g = gradient * gradient_scale,
///   m = beta1 m + (1-beta1) g;  v = beta2 v + (1-beta2) g^2;
///   master -= lr ( mhat / (sqrt(vhat) + eps) + weight_decay * master ), mhat = m/(1-beta1^step), vhat =
///   v/(1-beta2^step); weight = master in the weight's dtype.
/// One pass over memory. A range of the flat buffer has one weight_decay (the optimizer splits at parameters that
/// differ). gradient_scale is read on the device, so that clipping needs no host; where it is not finite, everything is
/// left as it is.
struct AdamW {
  Tensor gradient;        ///< fp32 [n]
  Tensor master, m, v;    ///< fp32 [n]
  Tensor weight;          ///< [n] bf16 or fp16; undefined where master is the weight (fp32)
  Tensor gradient_scale;  ///< fp32 [1]: clipping, loss scale and token count in one
  double lr = 0, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
  std::int64_t step = 1;  ///< counted from 1
};
void reference(AdamW const& op);
void launch(Cpu& cpu, AdamW const& op);
void launch(Cuda& cuda, AdamW const& op);
Cost cost(AdamW const& op);
std::int64_t workspace(AdamW const& op, std::int64_t budget);
static_assert(Kernel<AdamW>);

/// Plain stochastic gradient descent with decoupled weight decay: master -= lr (g + weight_decay * master).
struct Sgd {
  Tensor gradient, master, weight, gradient_scale;
  double lr = 0, weight_decay = 0;
};
void reference(Sgd const& op);
void launch(Cpu& cpu, Sgd const& op);
void launch(Cuda& cuda, Sgd const& op);
Cost cost(Sgd const& op);
std::int64_t workspace(Sgd const& op, std::int64_t budget);
static_assert(Kernel<Sgd>);

}  // namespace selenite
