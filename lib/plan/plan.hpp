#pragma once
#include <string>
#include <vector>

#include "plan/pipeline.hpp"

namespace selenite {

/// What a rank will hold and do in a step, found by walking the training code with a context that prices, and how long
/// the pipeline that it is part of takes.
struct Plan {
  Footprint footprint;            ///< of this rank; stages[fullest()] has that of the rank that holds most
  std::int64_t parameters = 0;    ///< of the whole model, padding of the vocabulary included
  std::int64_t micros = 0;        ///< micro-batches of this rank a step
  Tally step;                     ///< of this rank and one step: FLOPs, bytes, seconds by cause
  double step_seconds = 0;        ///< from the played schedule
  double model_flops = 0;         ///< of the global batch over all ranks, by the published convention
  double hardware_flops = 0;      ///< the same with recomputation
  std::vector<StagePlan> stages;  ///< of the pipeline that this rank is part of
  Schedule schedule;
  Played played;  ///< with the stages' seconds

  /// The stage whose rank holds most, and the one that has most to compute.
  std::size_t fullest() const;
  std::size_t busiest() const;
};
/// `machine` may be null: sizes and counts without times. `config` must be resolved for the grid's world.
Plan make_plan(Config const& config, ProcessGrid const& grid, Rank rank, Machine const* machine,
               Walking walking = Walking::alike_once);

/// How FLOPs are counted, named beside every percentage.
extern char const* const flops_convention;

/// The plan as the text that --dry-run prints.
std::string describe(Plan const& plan, Config const& config, Machine const* machine);

}  // namespace selenite
