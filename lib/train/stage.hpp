#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/arena.hpp"
#include "core/config.hpp"
#include "exec/ctx.hpp"
#include "model/gpt.hpp"
#include "schedule/schedule.hpp"
#include "train/flat.hpp"

namespace selenite {

/// Bytes of everything a rank holds, by label. Found by walking the same code with null memory.
struct Footprint {
  std::int64_t weights = 0, gradients = 0, master = 0, moments = 0;  ///< state
  std::int64_t slots = 0;                                            ///< what forward passes keep for backward
  std::int64_t messages = 0;  ///< inputs of the passes: the micro-batches' tokens
  std::int64_t scratch = 0;   ///< temporaries and kernels' workspace
  std::vector<std::pair<std::string, std::int64_t>> rows() const;
  std::int64_t total() const;
  bool operator==(Footprint const&) const = default;
};

/// What a rank is for.
enum class Purposes : std::uint8_t { training, evaluation };

/// What one rank holds of the model: its chunks, their parameters bound to flat buffers, slots and scratch. Constructed
/// for any rank of any world without memory; `take_memory` makes it real.
class StageState {
 public:
  StageState(Config const& config, ProcessGrid const& grid, Rank rank, Schedule const& schedule,
             Purposes purpose = Purposes::training);

  Footprint const& footprint() const { return footprint_; }
  /// Throws Error, with what takes the room, if the machine has not enough left.
  void require_memory() const;
  /// Allocates all memory of the rank at once and binds every tensor to it.
  void take_memory();
  /// Draws the initial weights into fresh memory, which is zero; the same bits under every layout.
  void initialize(Ctx& ctx);

  Config const& config() const { return config_; }
  ProcessGrid const& grid() const { return grid_; }
  Rank rank() const { return rank_; }
  DType dtype() const { return dtype_; }
  GptChunk const& chunk() const { return *chunk_; }
  ParameterList const& parameters() const { return parameters_; }
  FlatLayout const& layout() const { return layout_; }
  Schedule const& schedule() const { return schedule_; }
  Tensor weights, gradients, master, moment1, moment2;  ///< flat; master undefined in fp32, where weights are it
  /// fp32 values of parameter i's place in a flat fp32 tensor (master or a moment), in this rank's shape.
  Tensor view(Tensor const& flat, std::size_t parameter) const;
  /// The tensor that holds the exact weights: master, or the weights themselves in fp32.
  Tensor const& exact_weights() const { return master.defined() ? master : weights; }

  Ctx::Place place();  ///< for a Ctx over this stage's arenas
  Arena& slot(std::size_t i) { return slots_[i]; }
  std::size_t slot_count() const { return slots_.size(); }
  Arena& scratch() { return scratch_; }
  Batch& batch(std::size_t slot) { return batches_[slot]; }
  Tensor totals;          ///< fp64 [2]: sum of losses and number of counted tokens of the step
  Tensor norm;            ///< fp64 [1]: squared gradient norm
  Tensor gradient_scale;  ///< fp32 [1]

  /// Peaks of the arenas so far, as a Footprint: equals footprint() when the plan was exact.
  Footprint measured() const;

 private:
  void lay_out(std::byte* base);
  void walk();
  Batch lay_out_batch(Arena& arena) const;

  Config config_;
  ProcessGrid grid_;
  Rank rank_;
  Schedule schedule_;
  Purposes purpose_;
  DType dtype_;
  std::unique_ptr<GptChunk> chunk_;
  ParameterList parameters_;
  FlatLayout layout_;
  std::size_t slot_total_ = 1;
  std::int64_t slot_bytes_ = INT64_MAX, scratch_bytes_ = INT64_MAX;
  Footprint footprint_;
  Memory memory_;
  std::vector<Arena> slots_;
  Arena messages_{"messages"}, scratch_{"scratch"};
  std::vector<Batch> batches_;
};

}  // namespace selenite
