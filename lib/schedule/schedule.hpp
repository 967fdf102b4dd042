#pragma once
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.hpp"
#include "core/ids.hpp"

namespace selenite {

/// What a stage does with a chunk and a micro-batch: a forward pass; a backward pass, whole or as its two halves, the
/// gradients of the input (which the stage before waits for) and of the weights (which nobody waits for). Once a step:
/// the gradient sync and the optimizer step.
enum class What : char {
  forward = 'F',
  backward = 'B',
  backward_input = 'I',
  backward_weight = 'W',
  sync = 'G',
  step = 'O'
};
/// Whether the action belongs to a chunk and a micro-batch: all but sync and step do.
constexpr bool is_pass(What what) { return what != What::sync && what != What::step; }

/// One entry of a schedule; prints as "F0.3" (forward, chunk 0, micro-batch 3), "B0.3", "I0.3", "W0.3", "G" and "O".
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

  /// Chunk c of stage r holds the layers of virtual stage c * stages + r.
  std::int64_t virtual_stage(Stage stage, Chunk chunk) const { return *chunk * stages + *stage; }
  std::int64_t virtual_stages() const { return stages * chunks; }
  /// Whether the action sends to another stage: a forward pass to the next virtual stage, B and I to the one before.
  /// A stage's message to itself (stages = 1) needs no send.
  bool sends(Stage stage, Action action) const;
  /// Whether the action takes a message of another stage; as for sends.
  bool receives(Stage stage, Action action) const;
};
/// Whether backward passes come as their two halves.
bool splits_backward(Schedule const& schedule);
/// One line a stage, actions separated by blanks; parse_schedule reads it back.
std::string to_string(Schedule const& schedule);
Schedule parse_schedule(std::string_view text);

/// One forward, one backward (PipeDream-flush): stage r runs min(stages - r - 1, micros) forwards ahead, then
/// alternates. Bubble (stages-1)(F+B), min(stages - r, micros) micro-batches in flight on stage r.
Schedule one_f_one_b(std::int64_t stages, std::int64_t micros);
/// Interleaved 1F1B (Narayanan et al. 2021): each stage holds `chunks` chunks, and takes `group` micro-batches through
/// one chunk before the next. Bubble (stages-1)(F+B) of a chunk, that is 1/chunks of 1F1B's, where group = stages
/// divides micros. micros need not be a multiple of anything. A group larger than stages needs up to
/// group - stages + 1 send buffers (send_buffers_needed), or it deadlocks.
Schedule interleaved(std::int64_t stages, std::int64_t chunks, std::int64_t micros, std::int64_t group);
/// ZB-H1 (Qi et al. 2024): 1F1B with the backward pass in two, the weights' half put off by r micro-batches on stage r.
/// Bubble (stages-1)(F+I-W) where W takes no longer than F or I and micros >= stages; at most min(stages, micros)
/// micro-batches in flight, the most that 1F1B has.
Schedule zero_bubble_h1(std::int64_t stages, std::int64_t micros);
/// ZB-H2: 2(stages - r - 1) forwards ahead fill the bubble before the first backward too. Bubble between the first and
/// last pass of stage r (stages-1-r)(F+I-2W), none if the three take the same time, where micros >= 2 stages - 1 and
/// messages have two send buffers; with one it is up to (stages-1)W more. At most min(2 stages - 1, micros)
/// micro-batches in flight. Stages finish one after the other, and the optimizer steps wait for the last of them,
/// because the gradient norm is global: the step's bubble is (stages-1) max(F, F+I-2W), H1's if I = W.
Schedule zero_bubble_h2(std::int64_t stages, std::int64_t micros);
/// Forward passes only, for evaluation.
Schedule forward_only(std::int64_t stages, std::int64_t chunks, std::int64_t micros);
inline Schedule forward_only(std::int64_t stages, std::int64_t micros) { return forward_only(stages, 1, micros); }

/// The schedule that the layout asks for.
Schedule make_schedule(LayoutConfig const& layout, std::int64_t micros);
/// The row of one of its stages.
std::vector<Action> make_row(LayoutConfig const& layout, std::int64_t micros, Stage stage);
/// Send buffers a (stage, chunk, direction) that runs of it have: one, but for groups of more micro-batches than
/// stages.
std::int64_t send_buffers(LayoutConfig const& layout, Schedule const& schedule);

/// The largest number of micro-batches between F and B, or W where the backward pass is in two, that the stage holds at
/// once for the chunk; 1 where there is no backward pass. Micro-batch m lies in slot m % slots_needed.
std::int64_t slots_needed(Schedule const& schedule, Stage stage, Chunk chunk);
/// The same of each of a row's chunks.
std::vector<std::int64_t> slots_needed(std::vector<Action> const& row, std::int64_t chunks);
/// The same from F to B or I: for the part of a slot that is free after I.
std::int64_t slots_until_input(Schedule const& schedule, Stage stage, Chunk chunk);
/// The smallest number of send buffers a (stage, chunk, direction) with which the schedule does not deadlock.
std::int64_t send_buffers_needed(Schedule const& schedule);

class PlayOrder;
/// Slots of each [stage][chunk].
using SlotTable = std::vector<std::vector<std::int64_t>>;
/// Throws Error with the table and the bad cell in [brackets] if an action is missing or comes twice; W is before I; B
/// stands beside I or W for the same micro-batch; a chunk's micro-batches are not taken and freed in order (so that
/// micro-batch m may lie in slot m % slots_needed); sync or step is missing or too early; a stage waits for ever
/// (played with `send_buffers` as PlayOrder does); or `available` is given and has too few slots. What is returned need
/// not be used: the order in which it can be played (schedule/play.hpp).
PlayOrder validate_schedule(Schedule const& schedule, SlotTable const& available = {}, std::int64_t send_buffers = 1);

}  // namespace selenite
