#pragma once
#include "train/stage.hpp"

namespace selenite {

/// What the optimizer step found.
struct StepResult {
  double loss = 0;       ///< mean over the counted tokens of the global batch
  double tokens = 0;     ///< counted
  double grad_norm = 0;  ///< of the gradient of the mean loss, before clipping
  double lr = 0;
};
/// Norm, clipping, AdamW or SGD, and gradients back to zero. `step` counts from 1; `consumed` is the samples before
/// this step. Throws Error, with nothing changed, if the loss or norm is not finite.
StepResult optimizer_step(Ctx& ctx, StageState& stage, std::int64_t step, std::int64_t consumed);

/// Multiplies every token's gradient: loss_scale / (global_batch * sequence_length). The optimizer corrects to counted
/// tokens.
double backward_seed(Config const& config);

}  // namespace selenite
