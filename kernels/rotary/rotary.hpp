#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// Rotary position embedding (Su et al. 2021) in place, in the half-split form of Llama and Megatron: feature i of a
/// head is paired with i + head_dim/2 and turned by position * base^(-2i/head_dim). Angles in double, so that long
/// positions are exact. Backward is the same with `inverse`.
struct Rotary {
  Tensor x;          ///< [tokens, heads * head_dim], may be columns of a wider matrix (q and k of qkv)
  Tensor positions;  ///< int32 [tokens]
  std::int64_t head_dim = 0;
  double base = 10000;
  bool inverse = false;
};
void reference(Rotary const& op);
void launch(Cpu& cpu, Rotary const& op);
void launch(Cuda& cuda, Rotary const& op);
Cost cost(Rotary const& op);
std::int64_t workspace(Rotary const& op, std::int64_t budget);
static_assert(Kernel<Rotary>);

}  // namespace selenite
