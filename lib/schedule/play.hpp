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

/// A schedule made ready to be played with any durations: its actions in an order in which each comes behind all that
/// it waits for, as flat arrays.
/// An action starts when its stage is free and its input is there. One that sends also waits until the receiver has
/// started the action that takes the message sent `send_buffers` messages before it (from the same stage and chunk, in
/// the same direction), because its output is written to that message's buffer. The optimizer step waits for the
/// gradient sync of all stages (its norm is global). Actions must not be doubled (validate_schedule).
class PlayOrder {
 public:
  /// Throws Error with the table and the bad cell marked if a stage waits for ever.
  explicit PlayOrder(Schedule const& schedule, std::int64_t send_buffers = 1);
  /// Seconds from the start to the end of the step, when the actions take these times.
  double play(std::vector<StageSeconds> const& seconds) const;
  /// The same with all that happens on the way.
  Played timeline(std::vector<StageSeconds> const& seconds) const;
  /// Actions of all stages.
  std::size_t size() const { return steps_.size(); }

 private:
  friend std::int64_t send_buffers_needed(Schedule const& schedule);
  class Maker;
  static constexpr std::uint32_t none = UINT32_MAX;
  /// An action; the others by their place in all rows, one behind the other.
  struct Step {
    std::uint32_t place = none;              ///< its own
    std::uint32_t before = none;             ///< of its stage
    std::uint32_t input = none;              ///< what makes its input
    std::uint32_t taker = none;              ///< what starts when the buffer of its output is free
    std::uint32_t duration = 0, way = none;  ///< of itself and of its input's message, in lists of seconds
  };
  PlayOrder() = default;
  std::vector<double> durations(std::vector<StageSeconds> const& seconds) const;
  void run(std::vector<StageSeconds> const& seconds, std::vector<Span>& spans) const;

  std::int64_t stages_ = 0, chunks_ = 0;
  std::vector<Step> steps_;
  std::vector<std::size_t> row_starts_;  ///< [stage + 1], in the places of all actions
};

/// One play of a schedule, in seconds.
double play(Schedule const& schedule, std::vector<StageSeconds> const& seconds, std::int64_t send_buffers = 1);
/// What it goes through, action by action.
Played timeline(Schedule const& schedule, std::vector<StageSeconds> const& seconds, std::int64_t send_buffers = 1);

}  // namespace selenite
