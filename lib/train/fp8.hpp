#pragma once
#include <string>
#include <vector>

#include "core/arena.hpp"
#include "core/config.hpp"
#include "core/cuda.hpp"
#include "core/param.hpp"
#include "exec/ctx.hpp"

namespace selenite {

class GptChunk;
class StageState;

// Training with 8-bit matrix products (Micikevicius et al. 2022), delayed scaling: what a step rounds is scaled by the
// largest magnitudes of the steps before it, so that nothing is read twice. Those are maxima over all ranks that hold a
// part of the tensor and over all micro-batches, so that scales do not depend on the layout. Weights, which change
// between steps only, are scaled by their present maximum.

/// A matrix that is multiplied in 8 bits, and the stage's parameters [first, last) that lie side by side in it.
struct Fp8Site {
  Fp8Matrix* matrix = nullptr;
  std::size_t first = 0, last = 0;
};

/// What a stage holds for them, beside the matrices' 8-bit copies. Arrays of all sites, in three parts: of inputs, of
/// output gradients, of weights.
struct Fp8State {
  std::vector<Fp8Site> sites;
  Tensor amax, scale;           ///< fp32 [3 sites]
  Tensor inverse;               ///< fp32 [3 sites, 1], every 16 bytes
  Tensor history;               ///< fp32 [2 sites, train.fp8_history]: largest magnitudes of inputs and gradients
  Tensor weight_history;        ///< fp32 [sites, 1]
  bool used() const { return !sites.empty(); }
};

/// The matrices of a chunk, whose parameters are those from number `first` on of the stage's: with train.precision =
/// fp8 those of all blocks but train.fp8_bf16_layers at each end of the model. Embedding and head are not among them:
/// the head's logits meet a softmax over the vocabulary, whose gradient is the one that all others are made of.
std::vector<Fp8Site> fp8_sites(Config const& config, GptChunk& chunk, std::size_t first);
/// Takes their memory and binds the matrices to it.
void lay_out_fp8(Fp8State& state, StageState const& stage, Arena& arena);

/// After the optimizer has changed the weights that this rank owns: what the step saw goes into the history, and all
/// scales are made anew, alike on all ranks.
void update_scales(Ctx& ctx, StageState& stage);
/// The same from history and weights alone, after these were set.
void restore_scales(Ctx& ctx, StageState& stage);
/// Rounds the weights of a bucket, once they have arrived, if they have changed since.
void round_weights(Ctx& ctx, StageState& stage, std::size_t bucket);

/// The history's rows, as checkpoints hold them: a name and fp32 [train.fp8_history] each.
struct Fp8Row {
  std::string name;
  Tensor data;
};
std::vector<Fp8Row> fp8_history_rows(StageState const& stage);

/// Throws Error if the precision asks for 8-bit products that the device does not have.
void require_products(Precision precision, CudaDevice const& device);

}  // namespace selenite
