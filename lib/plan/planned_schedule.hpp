#pragma once
#include <string>

#include "plan/plan.hpp"
#include "schedule/play.hpp"

namespace selenite {

/// The schedule of a config's pipeline and when its actions run.
struct PlannedSchedule {
  Schedule schedule;
  Played played;
  std::string machine;  ///< whose seconds they are; empty: F takes 1, B 2, I and W 1, and the end of the step nothing
};
/// Played with the plan's seconds of rank 0's pipeline, or without a machine in units. `config` must be resolved.
PlannedSchedule plan_schedule(Config const& config, Machine const* machine);
/// The one that a plan with times has played.
PlannedSchedule planned_schedule(Plan const& plan, Machine const& machine);

/// "4 stages, 2 chunks and 8 micro-batches, in times of ..."
std::string title(PlannedSchedule const& planned);
/// The table of actions, the drawing, and lines about bubble and slots.
std::string describe(PlannedSchedule const& planned);

}  // namespace selenite
