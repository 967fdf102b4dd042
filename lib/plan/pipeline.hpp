#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "core/machine.hpp"
#include "exec/exposed.hpp"
#include "schedule/play.hpp"
#include "train/stage.hpp"

namespace selenite {

/// What the rank of one pipeline stage will hold and do in a step.
struct StagePlan {
  Footprint footprint;
  std::vector<std::int64_t> layers;  ///< of each chunk
  std::int64_t parameters = 0;       ///< whole ones of the model that the stage has a part of; of two copies the first
  Tally step;                        ///< FLOPs, bytes, bytes sent, seconds by cause
  Exposed exposed;                   ///< what the seconds in its actions go to
  StageSeconds seconds;              ///< of each kind of action
  double busy = 0;                   ///< seconds of the step in actions; the rest is the bubble
};

/// Which stages of a pipeline are walked: of those that are alike one, or each. Both give the same.
enum class Walking : std::uint8_t { alike_once, each };

/// The schedules of a config, checked, and the order in which that of train.global_batch is played.
struct CheckedSchedules {
  Schedules all;
  PlayOrder order;
  /// Throws Error if one deadlocks.
  explicit CheckedSchedules(Config const& config);
};

/// The stages of the pipeline that a rank is part of, found by walking the training code with null memory.
/// Stages are alike if their chunks have the same layers, and embedding and head, and they sit alike among the nodes;
/// then they differ in the number of slots alone.
class Pipeline {
 public:
  /// `config` must be resolved for the grid's world. `schedules`: its own, where they are already there.
  Pipeline(Config const& config, ProcessGrid const& grid, Rank rank, Machine const* machine,
           Walking walking = Walking::alike_once, std::shared_ptr<CheckedSchedules const> schedules = nullptr);

  /// Of a step of train.global_batch.
  Schedule const& schedule() const;
  PlayOrder const& order() const { return schedules_->order; }
  std::int64_t stages() const { return grid_.size(Axis::pipe); }
  /// What each stage's rank holds.
  std::vector<Footprint> footprints();
  /// What it does, too: on the machine, or without times if there is none. All but `busy`.
  std::vector<StagePlan> plans();

 private:
  /// Calls `visit` with a stage's number and the state of one that is like it.
  void for_kinds(std::function<void(std::vector<std::int64_t> const& stages, StageState& state)> const& visit);
  Rank rank_of(std::int64_t stage) const;
  std::int64_t place_in_node(std::int64_t stage) const;
  /// Stages that are alike, by the first.
  std::vector<std::vector<std::int64_t>> kinds(Walking walking) const;

  Config config_;
  ProcessGrid grid_;
  Rank rank_;
  Machine const* machine_;
  std::shared_ptr<CheckedSchedules const> schedules_;
  std::vector<std::int64_t> layers_;                ///< of each virtual stage
  std::vector<std::vector<std::int64_t>> kinds_;    ///< stages that are alike
  std::vector<std::unique_ptr<StageState>> state_;  ///< of each kind, once it was asked for
};

}  // namespace selenite
