#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// gelu: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); gelu_erf: x Phi(x); swiglu: silu(gate) * up.
enum class ActivationKind : std::uint8_t { gelu, gelu_erf, swiglu };

/// y = activation(x). x is [tokens, ffn], or for swiglu [tokens, 2*ffn] with the gate in the first half and up in the
/// second.
struct Activation {
  ActivationKind kind = ActivationKind::gelu;
  Tensor x, y;  ///< y [tokens, ffn]
};
void reference(Activation const& op);
void launch(Cpu& cpu, Activation const& op);
void launch(Cuda& cuda, Activation const& op);
Cost cost(Activation const& op);
std::int64_t workspace(Activation const& op, std::int64_t budget);
static_assert(Kernel<Activation>);

/// dx from dy and the saved x. For gelu kinds dx may be dy (in place).
struct ActivationBackward {
  ActivationKind kind = ActivationKind::gelu;
  Tensor x, dy, dx;  ///< x and dx alike; dy [tokens, ffn]
};
void reference(ActivationBackward const& op);
void launch(Cpu& cpu, ActivationBackward const& op);
void launch(Cuda& cuda, ActivationBackward const& op);
Cost cost(ActivationBackward const& op);
std::int64_t workspace(ActivationBackward const& op, std::int64_t budget);
static_assert(Kernel<ActivationBackward>);

}  // namespace selenite
