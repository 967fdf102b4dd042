#pragma once
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/arena.hpp"
#include "core/batch_ramp.hpp"
#include "core/config.hpp"
#include "exec/ctx.hpp"
#include "model/gpt.hpp"
#include "schedule/schedule.hpp"
#include "train/flat.hpp"
#include "train/fp8.hpp"
#include "train/progress.hpp"

namespace selenite {

/// Bytes of everything a rank holds, by label. Found by walking the same code with null memory.
struct Footprint {
  std::int64_t weights = 0, gradients = 0, master = 0, moments = 0;  ///< state
  std::int64_t slots = 0;                                            ///< what forward passes keep for backward
  std::int64_t buckets = 0;   ///< gradients on their way to their owners, where each rank keeps only its own
  std::int64_t messages = 0;  ///< inputs of the passes: the micro-batches' tokens, and what goes between stages
  std::int64_t scratch = 0;   ///< temporaries and kernels' workspace
  std::int64_t nccl = 0;      ///< what NCCL takes itself; an estimate, no part of the rank's one allocation
  std::vector<std::pair<std::string, std::int64_t>> rows() const;
  std::int64_t total() const;
  std::int64_t allocation() const { return total() - nccl; }
  bool operator==(Footprint const&) const = default;
};

/// What a rank is for.
enum class Purposes : std::uint8_t { training, evaluation };

/// What the pipeline does in a step, for each size that a step's batch has.
struct Schedules {
  std::map<std::int64_t, Schedule> by_batch;  ///< samples of the global batch
  std::int64_t send_buffers = 1;
  explicit Schedules(Config const& config);
  /// Slots of each chunk of a stage: enough for every batch.
  std::vector<std::int64_t> slots(Stage stage) const;
};

/// Layers of each chunk of a pipeline of `chunks` of them: what layout.stages says (balanced_layers if "auto"),
/// else as even as can be.
std::vector<std::int64_t> chunk_layers(Config const& config, std::int64_t chunks);

/// Where the host writes a micro-batch: its memory itself, or on a CUDA device pinned memory that is copied there.
struct HostBatch {
  Batch batch;
  Event uploaded;  ///< when it may be written again
  Event released;  ///< when passes no longer need what was copied
};

/// One chunk of the model on this rank, with what its passes need.
struct ChunkState {
  std::unique_ptr<GptChunk> model;
  std::size_t slots = 1;  ///< micro-batches between forward and backward at once; micro m is in slot m % slots
  std::int64_t slot_bytes = 0;
  std::vector<Arena> slot;
  std::vector<Batch> batch;             ///< by slot
  std::vector<HostBatch> host;          ///< by slot
  std::vector<GptChunk::Saved> saved;   ///< by slot
  std::vector<Tensor> input;            ///< by slot: from the chunk before; undefined with the embedding
  std::vector<Tensor> d_output;         ///< from the chunk after, by slot, or one; undefined with the head
  std::vector<Tensor> output, d_input;  ///< on their way to the neighbours, in turns; none at the pipeline's ends
  std::int64_t number = 0;              ///< among all chunks of the pipeline
  std::size_t first_parameter = 0;      ///< of the stage's parameters
  std::size_t first_bucket = 0, last_bucket = 0;
  std::size_t buckets_left = 0;  ///< those before it still miss gradients of the pass under way
};

/// The gradients of a bucket.
struct BucketState {
  Tensor gradient;  ///< where backward passes accumulate: in the flat gradients, or in memory that buckets share
  Tensor arrived;   ///< with sharded gradients: this rank's part of the sum, before it is added to the owned gradients
  Tensor travelling;  ///< with train.gradient_reduce in 16 bits: the gradient as it goes between ranks
  bool started = false;
  bool changed = false;  ///< its weights are newer than their 8-bit copies
  Event reduced, gathered;
};

/// What one rank holds of the model: its chunks, their parameters bound to flat buffers, slots and scratch. Constructed
/// for any rank of any world without memory; `take_memory` makes it real.
class StageState {
 public:
  /// `schedules`: those of the config, where they are already there.
  StageState(Config const& config, ProcessGrid const& grid, Rank rank, Purposes purpose = Purposes::training,
             std::shared_ptr<Schedules const> schedules = nullptr);

  Footprint const& footprint() const { return footprint_; }
  /// Before take_memory: what the stage holds if its chunks have so many slots.
  Footprint const& use_slots(std::vector<std::int64_t> const& slots);
  /// What the launches to come need beforehand, such as libraries' plans, is made; before take_memory().
  void prepare(Cuda& cuda);
  /// Allocates all memory of the rank at once and binds every tensor to it. On a device `comm`, where given, chooses
  /// its kind and knows it from then on: it outlives this.
  void take_memory(Comm* comm = nullptr);
  /// Draws the initial weights into fresh memory, which is zero; the same bits under every layout.
  void initialize(Ctx& ctx);

  Config const& config() const { return config_; }
  ProcessGrid const& grid() const { return grid_; }
  Rank rank() const { return rank_; }
  Stage stage() const { return Stage(grid_.coord(rank_, Axis::pipe)); }
  DType dtype() const { return dtype_; }
  Device device() const { return config_.run.backend == BackendKind::cuda ? Device::cuda : Device::cpu; }
  ParameterList const& parameters() const { return parameters_; }
  FlatLayout const& layout() const { return layout_; }
  /// What the next step takes: its batch, and with that its schedule, and its loss scale. At first those of a step of
  /// train.global_batch.
  void begin_step(Progress const& before);
  Schedule const& schedule() const { return schedules_->by_batch.at(global_batch_); }
  std::int64_t global_batch() const { return global_batch_; }
  double loss_scale() const { return loss_scale_; }
  Tensor weights;                   ///< flat, all elements
  Tensor gradients;                 ///< flat, all elements, or the owned ones with sharded gradients
  Tensor master, moment1, moment2;  ///< flat, the owned elements; master undefined in fp32, where weights are it
  /// A run of one of these, whether it holds all elements or the owned ones.
  Tensor owned(Tensor const& flat, OwnedRun const& run) const;
  /// Parameter i in a flat tensor of all elements, in this rank's shape.
  Tensor view(Tensor const& flat, std::size_t parameter) const;
  /// The tensor that holds the exact weights: master, or the weights themselves in fp32.
  Tensor const& exact_weights() const { return master.defined() ? master : weights; }

  Ctx::Place place();  ///< for a Ctx over this stage's arenas
  std::size_t chunk_count() const { return chunks_.size(); }
  ChunkState& chunk(Chunk c = Chunk(0)) { return chunks_[static_cast<std::size_t>(*c)]; }
  ChunkState const& chunk(Chunk c = Chunk(0)) const { return chunks_[static_cast<std::size_t>(*c)]; }
  /// The rank that holds chunk `number` of the pipeline, with this rank's other coordinates.
  Rank holder(std::int64_t number) const;
  Arena& scratch() { return scratch_; }
  Fp8State fp8;
  std::vector<BucketState> buckets;
  std::deque<std::size_t> in_flight;  ///< buckets under way to their owners, with sharded gradients
  /// Gradients go between ranks in fewer bits than they are accumulated in.
  bool narrows_gradients() const;
  bool shards_gradients() const { return layout_.shards > 1 && config_.train.optimizer_sharding >= 2; }
  /// Passes are captured as CUDA graphs. Not those in which ranks exchange: such calls go to other lanes, are waited
  /// for by events and are watched over one by one.
  bool captures_passes() const;
  bool overlaps_gradients() const { return overlaps("gradients"); }
  bool overlaps_parameters() const { return overlaps("parameters"); }
  /// Shared by the buckets in turns where gradients are sharded.
  std::size_t bucket_memories() const { return overlaps_gradients() ? 2 : 1; }
  Event copied;           ///< weights and moments may change after this: a checkpoint copies them
  Tensor totals;          ///< fp64 [2]: sum of losses and number of counted tokens of the step
  Tensor norm;            ///< fp64 [1]: squared gradient norm
  Tensor gradient_scale;  ///< fp32 [1]

  /// Peaks of the arenas so far, as a Footprint: equals footprint() when the plan was exact.
  Footprint measured() const;

 private:
  void make_chunks();
  void make_buckets();
  bool overlaps(char const* what) const;
  void lay_out(std::byte* base);
  void lay_out_staging();
  void lay_out_gradients(Arena& arena);
  void lay_out_travelling(Arena& arena);
  void bind_parameters();
  void draw(Ctx& ctx, std::size_t parameter, OwnedRun const& run);
  void lay_out_messages(std::byte* base);
  void lay_out_messages(ChunkState& chunk);
  void walk(Ctx& ctx);
  void count_passes();
  Batch lay_out_batch(Arena& arena) const;

  Config config_;
  ProcessGrid grid_;
  Rank rank_;
  BatchRamp ramp_;
  std::shared_ptr<Schedules const> schedules_;
  std::int64_t global_batch_;
  double loss_scale_;
  Purposes purpose_;
  DType dtype_;
  std::vector<ChunkState> chunks_;
  ParameterList parameters_;
  FlatLayout layout_;
  std::int64_t scratch_bytes_ = INT64_MAX;
  Footprint footprint_;
  Memory memory_;
  std::unique_ptr<LentMemory> lent_;  ///< after it: taken back before it goes
  Memory staging_;                    ///< of micro-batches on their way to a CUDA device
  Arena buckets_{"buckets"}, messages_{"messages"}, scratch_{"scratch"};
};

}  // namespace selenite
