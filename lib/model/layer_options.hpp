#pragma once
#include "core/config.hpp"

namespace selenite {

/// Who makes GELU, its backward pass and biases' gradients of linear layers: operations of their own, or the products
/// (Gemm::epilogue), which spares a pass over memory each. The products know an activation before it is rounded; what
/// recomputation makes again, from rounded inputs, differs from that by a rounding.
enum class Epilogues : std::uint8_t { apart, fused };

/// How layers are computed, apart from what they are.
struct LayerOptions {
  ContextExchange exchange = ContextExchange::ring;
  AttentionLibrary attention_library = AttentionLibrary::own;
  bool deterministic = true;
  Recompute recompute = Recompute::none;
  Epilogues epilogues = Epilogues::apart;
};
/// Libraries are those of backend = cuda.
LayerOptions layer_options(Config const& config);

}  // namespace selenite
