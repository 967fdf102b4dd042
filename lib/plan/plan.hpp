#pragma once
#include <string>
#include <vector>

#include "core/machine.hpp"
#include "schedule/play.hpp"
#include "train/stage.hpp"

namespace selenite {

/// What the rank of one pipeline stage will hold and do in a step.
struct StagePlan {
  Footprint footprint;
  std::vector<std::int64_t> layers;  ///< of each chunk
  Tally step;                        ///< FLOPs, bytes, bytes sent, seconds by cause
  StageSeconds seconds;              ///< of each kind of action
  double busy = 0;                   ///< seconds of the step in actions; the rest is the bubble
};

/// What a rank will hold and do in a step, found by walking the training code with a context that prices, and how long
/// the pipeline that it is part of takes.
struct Plan {
  Footprint footprint;
  std::int64_t parameters = 0;    ///< of the whole model, padding of the vocabulary included
  std::int64_t micros = 0;        ///< micro-batches of this rank a step
  Tally step;                     ///< of this rank and one step: FLOPs, bytes, seconds by cause
  double step_seconds = 0;        ///< from the played schedule
  double model_flops = 0;         ///< of the global batch over all ranks, by the published convention
  double hardware_flops = 0;      ///< the same with recomputation
  std::vector<StagePlan> stages;  ///< of the pipeline that this rank is part of
};
/// `machine` may be null: sizes and counts without times. `config` must be resolved for the grid's world.
Plan make_plan(Config const& config, ProcessGrid const& grid, Rank rank, Machine const* machine);

/// How FLOPs are counted, named beside every percentage.
extern char const* const flops_convention;

/// The plan as the text that --dry-run prints.
std::string describe(Plan const& plan, Config const& config, Machine const* machine);

}  // namespace selenite
