#pragma once
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/ids.hpp"

namespace selenite {

/// What a stage does: a forward or backward pass of a chunk for a micro-batch, and once a step the gradient sync and
/// the optimizer step.
enum class What : char { forward = 'F', backward = 'B', sync = 'G', step = 'O' };

/// One entry of a schedule; prints as "F0.3" (forward, chunk 0, micro-batch 3), "G" and "O".
struct Action {
  What what = What::forward;
  Chunk chunk;
  Micro micro;
  auto operator<=>(Action const&) const = default;
};
std::string to_string(Action action);
/// Reads what to_string wrote; throws Error otherwise.
Action parse_action(std::string_view text);

/// Which micro-batches each stage works on, in order: a table with a row a stage.
struct Schedule {
  std::int64_t stages = 1, chunks = 1, micros = 1;
  std::vector<std::vector<Action>> rows;
  bool operator==(Schedule const&) const = default;
};
/// One line a stage, actions separated by blanks; parse_schedule reads it back.
std::string to_string(Schedule const& schedule);
Schedule parse_schedule(std::string_view text);

/// One forward, one backward (PipeDream-flush): stage r runs min(stages - r - 1, micros) forwards ahead, then
/// alternates. Bubble (stages-1)/micros of the ideal time, min(stages - r, micros) micro-batches in flight on stage r.
Schedule one_f_one_b(std::int64_t stages, std::int64_t micros);
/// Forward passes only, for evaluation.
Schedule forward_only(std::int64_t stages, std::int64_t micros);

/// Plays the table with every send waiting for its receive; throws Error with the table and the bad cell marked if an
/// action is missing, comes twice, or a stage waits for ever.
void validate_schedule(Schedule const& schedule);
/// The largest number of micro-batches between F and B that stage r holds at once, per chunk.
std::int64_t slots_needed(Schedule const& schedule, Stage stage, Chunk chunk);

/// Durations of a stage's actions in seconds.
struct ActionSeconds {
  double forward = 0, backward = 0, sync = 0, step = 0, message = 0;
};
/// Seconds from the start to the end of the step, when each stage's actions take these times.
double play(Schedule const& schedule, std::vector<ActionSeconds> const& seconds);

}  // namespace selenite
