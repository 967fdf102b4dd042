#pragma once
#include <cstdint>
#include <vector>

#include "core/config.hpp"

namespace selenite {

/// Executed FLOPs of the forward and backward pass of a micro-batch, recomputation included; over all ranks that share
/// a stage.
struct LayerCosts {
  double block = 0, embedding = 0, head = 0;  ///< head: with the loss
};
/// Counted by walking the training code over a pipeline of one block a stage.
LayerCosts layer_costs(Config const& config);

/// Layers of each of a pipeline's `chunks`, so that the one with most FLOPs has as few as can be. Depends on the model
/// alone, not on a machine: the same config always gives the same layout.
std::vector<std::int64_t> balanced_layers(Config const& config, std::int64_t chunks);

}  // namespace selenite
