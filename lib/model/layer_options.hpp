#pragma once
#include "core/config.hpp"

namespace selenite {

/// How layers are computed, apart from what they are.
struct LayerOptions {
  ContextExchange exchange = ContextExchange::ring;
  AttentionLibrary attention_library = AttentionLibrary::own;
  bool deterministic = true;
  Recompute recompute = Recompute::none;
  Epilogues epilogues = Epilogues::none;
};
/// Libraries are those of backend = cuda.
LayerOptions layer_options(Config const& config);

}  // namespace selenite
