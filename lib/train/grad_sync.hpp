#pragma once
#include "train/stage.hpp"

namespace selenite {

// What travels between the ranks that hold the same parameters: gradients before the optimizer, weights after it.

/// Whether buckets are reduced within the backward pass of this micro-batch: gradients_done does nothing in others.
bool gradients_leave(StageState const& stage, Micro micro);
/// Called in a backward pass when the gradients of the chunk's parameters from number `first` on have all their parts
/// of this micro-batch. Buckets that are complete for the step (or, with sharded gradients, for the micro-batch) are
/// reduced, beside what follows if layout.overlap has "gradients".
void gradients_done(Ctx& ctx, StageState& stage, Chunk chunk, Micro micro, std::size_t first);
/// What is still to be summed before the optimizer step: the buckets; over tensor ranks where each saw a part or has a
/// copy; over the two stages that hold a tied parameter. Then the step's totals.
void sync_gradients(Ctx& ctx, StageState& stage);

/// After the optimizer: every rank gets the parts of the weights that others own, beside the next forward pass if
/// layout.overlap has "parameters".
void gather_weights(Ctx& ctx, StageState& stage);
/// The same after the exact weights alone were set: by initialization, or from a checkpoint.
void publish_weights(Ctx& ctx, StageState& stage);
/// Called in a forward pass before the chunk's parameters before number `end` are read.
void await_weights(Ctx& ctx, StageState& stage, Chunk chunk, std::size_t end);
/// Whether the chunk's next forward pass is the first for which other ranks' parts of the weights are on their way.
bool weights_under_way(StageState const& stage, Chunk chunk);

}  // namespace selenite
