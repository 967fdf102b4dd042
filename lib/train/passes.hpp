#pragma once
#include "train/stage.hpp"

namespace selenite {

/// The forward pass of a micro-batch through a chunk, into its slot: waits for the chunk before, starts the message to
/// the one after.
void forward_pass(Ctx& ctx, StageState& stage, Chunk chunk, Micro micro);
/// The backward pass of the same; frees the slot.
void backward_pass(Ctx& ctx, StageState& stage, Chunk chunk, Micro micro);
/// The same in two halves: the second frees the slot.
void backward_input_pass(Ctx& ctx, StageState& stage, Chunk chunk, Micro micro);
void backward_weight_pass(Ctx& ctx, StageState& stage, Chunk chunk, Micro micro);

}  // namespace selenite
