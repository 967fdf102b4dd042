#pragma once
#include <cstdint>
#include <vector>

#include "schedule/schedule.hpp"

namespace selenite {

/// Durations in seconds of the passes of one chunk of a stage. A message is the time that the output of F, or that of
/// B or I, is on its way to the next, or the previous, virtual stage.
struct ActionSeconds {
  double forward = 0, backward = 0, backward_input = 0, backward_weight = 0;
  double forward_message = 0, backward_message = 0;
};
/// Durations in seconds of a stage's actions: those of each chunk, and the two that come once a step.
struct StageSeconds {
  std::vector<ActionSeconds> chunks;
  double sync = 0, step = 0;
};
/// The same durations on each stage and for each chunk of the schedule.
std::vector<StageSeconds> same_seconds(Schedule const& schedule, ActionSeconds const& passes, double sync = 0,
                                       double step = 0);

/// Seconds from the start to the end of the step, when the actions take these times.
/// An action starts when its stage is free and its input is there. One that sends also waits until the receiver has
/// started the action that takes the message sent `send_buffers` messages before it (from the same stage and chunk, in
/// the same direction), because its output is written to that message's buffer. The optimizer step waits for the
/// gradient sync of all stages (its norm is global). Throws Error with the table and the bad cell marked if a stage
/// waits for ever. Actions must not be doubled (validate_schedule).
double play(Schedule const& schedule, std::vector<StageSeconds> const& seconds, std::int64_t send_buffers = 1);

/// When one action runs, in seconds from the start of the step.
struct Span {
  double start = 0, end = 0;
};
/// A played schedule.
struct Played {
  double seconds = 0;                    ///< from the start to the end of the step
  std::vector<std::vector<Span>> spans;  ///< [stage][action], as the schedule's rows
  std::vector<double> busy;              ///< [stage], seconds in actions
  /// Seconds of the step in which the stage does nothing.
  double bubble(Stage stage) const { return seconds - busy[static_cast<std::size_t>(*stage)]; }
};
/// What `play` goes through, action by action.
Played timeline(Schedule const& schedule, std::vector<StageSeconds> const& seconds, std::int64_t send_buffers = 1);

}  // namespace selenite
