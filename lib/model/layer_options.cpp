#include "model/layer_options.hpp"

namespace selenite {

LayerOptions layer_options(Config const& c) {
  bool const cuda = c.run.backend == BackendKind::cuda;
  return {c.layout.context_exchange, cuda ? c.run.attention_library : AttentionLibrary::own, c.train.deterministic,
          c.train.recompute, cuda ? c.run.fused_epilogues : Epilogues::none};
}

}  // namespace selenite
