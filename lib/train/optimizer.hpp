#pragma once
#include "train/stage.hpp"

namespace selenite {

/// What the optimizer step found.
struct StepResult {
  double loss = 0;       ///< mean over the counted tokens of the global batch
  double tokens = 0;     ///< counted
  double grad_norm = 0;  ///< of the gradient of the mean loss, before clipping; not finite in a skipped step
  double lr = 0;
  double loss_scale = 1;  ///< of this step
  bool skipped = false;   ///< the gradients overflowed: weights and moments are as before
};
/// Norm, clipping, AdamW or SGD, and gradients back to zero, of the step after `before`. A step whose gradients
/// overflowed is skipped if a smaller loss scale can help. Throws Error, with nothing changed, if the loss or norm is
/// not finite otherwise.
StepResult optimizer_step(Ctx& ctx, StageState& stage, Progress const& before);

/// Multiplies every token's gradient in the present step: loss_scale / (global_batch * sequence_length). The optimizer
/// corrects to counted tokens.
double backward_seed(StageState const& stage);

}  // namespace selenite
