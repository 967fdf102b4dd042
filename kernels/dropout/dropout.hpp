#pragma once
#include "core/kernel.hpp"
#include "core/rng.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// Where tokens sit in the training, for layout-invariant masks: token t of a local batch belongs to global sample
/// samples[t] and sequence position places[t] (counted in the sample, not reset at documents).
struct TokenPlaces {
  Tensor samples;  ///< int64 [tokens]
  Tensor places;   ///< int32 [tokens]
};

/// y = residual + dropout(x + bias). The mask is a pure function of (site, sample, place, feature): see pack_counter.
/// Kept values are scaled by 1/(1-p). p = 0 is a plain bias and residual add. y may be residual or x (in place).
struct DropoutAdd {
  Tensor x, residual, y;  ///< [tokens, features]; residual undefined: none
  Tensor bias;            ///< [features] or undefined
  DropoutSite site;
  TokenPlaces tokens;              ///< needed for p > 0 only
  std::int64_t first_feature = 0;  ///< global number of feature 0 (columns of a cut hidden dimension)
};
void reference(DropoutAdd const& op);
void launch(Cpu& cpu, DropoutAdd const& op);
void launch(Cuda& cuda, DropoutAdd const& op);
Cost cost(DropoutAdd const& op);
std::int64_t workspace(DropoutAdd const& op, std::int64_t budget);
static_assert(Kernel<DropoutAdd>);

/// dx = mask * dy / (1-p), the mask drawn again. dx may be dy.
struct DropoutBackward {
  Tensor dy, dx;
  DropoutSite site;
  TokenPlaces tokens;
  std::int64_t first_feature = 0;
};
void reference(DropoutBackward const& op);
void launch(Cpu& cpu, DropoutBackward const& op);
void launch(Cuda& cuda, DropoutBackward const& op);
Cost cost(DropoutBackward const& op);
std::int64_t workspace(DropoutBackward const& op, std::int64_t budget);
static_assert(Kernel<DropoutBackward>);

/// y (+)= x scaled: y = alpha x (+ y if accumulate). Sums of gradients that meet.
struct Add {
  Tensor x, y;
  double alpha = 1;
  bool accumulate = true;
};
void reference(Add const& op);
void launch(Cpu& cpu, Add const& op);
void launch(Cuda& cuda, Add const& op);
Cost cost(Add const& op);
std::int64_t workspace(Add const& op, std::int64_t budget);
static_assert(Kernel<Add>);

}  // namespace selenite
