#include <algorithm>

#include "core/config.hpp"
#include "core/error.hpp"
#include "schedule/schedule.hpp"

namespace selenite {

namespace {

Schedule empty_schedule(std::int64_t stages, std::int64_t chunks, std::int64_t micros) {
  validate(stages > 0 && chunks > 0 && micros > 0, "A schedule of ", stages, " stages, ", chunks, " chunks and ",
           micros, " micro-batches has no work (each must be at least 1). Correct the layout or the batch.");
  Schedule schedule{stages, chunks, micros, {}};
  schedule.rows.resize(static_cast<std::size_t>(stages));
  return schedule;
}

void end_step(std::vector<Action>& row) {
  row.push_back({What::sync, Chunk(0), Micro(0)});
  row.push_back({What::step, Chunk(0), Micro(0)});
}

/// Both zero-bubble schedules: stage r runs `depth` * (stages - r - 1) forwards ahead and puts the weights' half off by
/// `depth` * r micro-batches, so that all stages have as many micro-batches in flight.
std::vector<Action> zero_bubble_row(std::int64_t stages, std::int64_t micros, std::int64_t depth, std::int64_t r) {
  std::vector<Action> row;
  std::int64_t f = 0, w = 0;
  auto forward = [&] { row.push_back({What::forward, Chunk(0), Micro(f++)}); };
  auto weight = [&] { row.push_back({What::backward_weight, Chunk(0), Micro(w++)}); };
  for (std::int64_t const ahead = std::min(depth * (stages - r - 1), micros); f < ahead;) forward();
  for (std::int64_t i = 0; i < micros; ++i) {
    if (f < micros) forward();
    row.push_back({What::backward_input, Chunk(0), Micro(i)});
    if (i >= depth * r) weight();
  }
  while (w < micros) weight();
  end_step(row);
  return row;
}

std::vector<Action> one_f_one_b_row(std::int64_t stages, std::int64_t micros, std::int64_t r) {
  std::vector<Action> row;
  std::int64_t f = 0, b = 0;
  auto forward = [&] { row.push_back({What::forward, Chunk(0), Micro(f++)}); };
  auto backward = [&] { row.push_back({What::backward, Chunk(0), Micro(b++)}); };
  for (std::int64_t const ahead = std::min(stages - r - 1, micros); f < ahead;) forward();
  while (f < micros) forward(), backward();
  while (b < micros) backward();
  end_step(row);
  return row;
}

template <class Row>
Schedule of_rows(Schedule schedule, Row const& row) {
  for (std::int64_t r = 0; r < schedule.stages; ++r) schedule.rows[static_cast<std::size_t>(r)] = row(r);
  return schedule;
}

Schedule zero_bubble(std::int64_t stages, std::int64_t micros, std::int64_t depth) {
  return of_rows(empty_schedule(stages, 1, micros),
                 [&](std::int64_t r) { return zero_bubble_row(stages, micros, depth, r); });
}

/// A chunk's turn with a micro-batch.
struct Turn {
  std::int64_t chunk = 0, micro = 0;
};

/// Order of the forward passes of interleaved 1F1B: `group` micro-batches through chunk 0, the same through chunk 1,
/// ... A group is filled up to one micro-batch a stage, because the order of passes counts on that many between a chunk
/// and the next (it deadlocks otherwise). The fillers have numbers from `micros` on and are left out of the table,
/// which can break no order that it has without them.
std::vector<Turn> forward_turns(std::int64_t stages, std::int64_t chunks, std::int64_t micros, std::int64_t group) {
  std::vector<Turn> turns;
  for (std::int64_t first = 0; first < micros; first += group) {
    std::int64_t const real = std::min(group, micros - first);
    for (std::int64_t c = 0; c < chunks; ++c)
      for (std::int64_t i = 0; i < std::max(real, stages); ++i) turns.push_back({c, i < real ? first + i : micros});
  }
  return turns;
}

std::vector<Action> interleaved_row(std::int64_t stages, std::int64_t chunks, std::int64_t micros, std::int64_t group,
                                    std::int64_t r) {
  std::vector<Turn> const turns = forward_turns(stages, chunks, micros, group);
  std::vector<Action> row;
  auto add = [&](What what, Turn turn) {
    if (turn.micro < micros) row.push_back({what, Chunk(turn.chunk), Micro(turn.micro)});
  };
  auto forward = [&](std::size_t i) { add(What::forward, turns[i]); };
  auto backward = [&](std::size_t i) { add(What::backward, {chunks - 1 - turns[i].chunk, turns[i].micro}); };
  auto const ahead =
      std::min(turns.size(), static_cast<std::size_t>(2 * (stages - r - 1) + (chunks - 1) * std::max(group, stages)));
  for (std::size_t i = 0; i < ahead; ++i) forward(i);
  for (std::size_t i = ahead; i < turns.size(); ++i) forward(i), backward(i - ahead);
  for (std::size_t i = turns.size() - ahead; i < turns.size(); ++i) backward(i);
  end_step(row);
  return row;
}

std::int64_t group_of(LayoutConfig const& l) { return l.interleave_group > 0 ? l.interleave_group : l.pipe; }

}  // namespace

Schedule one_f_one_b(std::int64_t stages, std::int64_t micros) {
  return of_rows(empty_schedule(stages, 1, micros), [&](std::int64_t r) { return one_f_one_b_row(stages, micros, r); });
}

Schedule interleaved(std::int64_t stages, std::int64_t chunks, std::int64_t micros, std::int64_t group) {
  validate(group > 0, "Groups of ", group,
           " micro-batches cannot be taken through the chunks of a stage. Use 1 or more, as a rule the number of "
           "stages.");
  if (chunks == 1) return one_f_one_b(stages, micros);
  group = std::min(group, micros);
  return of_rows(empty_schedule(stages, chunks, micros),
                 [&](std::int64_t r) { return interleaved_row(stages, chunks, micros, group, r); });
}

Schedule zero_bubble_h1(std::int64_t stages, std::int64_t micros) { return zero_bubble(stages, micros, 1); }
Schedule zero_bubble_h2(std::int64_t stages, std::int64_t micros) { return zero_bubble(stages, micros, 2); }

Schedule forward_only(std::int64_t stages, std::int64_t chunks, std::int64_t micros) {
  Schedule schedule = empty_schedule(stages, chunks, micros);
  for (auto& row : schedule.rows)
    for (Turn turn : forward_turns(stages, chunks, micros, std::min(stages, micros)))
      if (turn.micro < micros) row.push_back({What::forward, Chunk(turn.chunk), Micro(turn.micro)});
  return schedule;
}

Schedule make_schedule(LayoutConfig const& l, std::int64_t micros) {
  if (l.pipe == 1) return one_f_one_b(1, micros);
  switch (l.schedule) {
    case ScheduleKind::zero_bubble:
      return zero_bubble_h1(l.pipe, micros);
    case ScheduleKind::zero_bubble_h2:
      return zero_bubble_h2(l.pipe, micros);
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::interleaved:
      break;
  }
  return interleaved(l.pipe, l.interleave, micros, group_of(l));
}

std::vector<Action> make_row(LayoutConfig const& l, std::int64_t micros, Stage stage) {
  if (l.pipe > 1 && l.schedule == ScheduleKind::zero_bubble) return zero_bubble_row(l.pipe, micros, 1, *stage);
  if (l.pipe > 1 && l.schedule == ScheduleKind::zero_bubble_h2) return zero_bubble_row(l.pipe, micros, 2, *stage);
  if (l.pipe == 1 || l.interleave == 1) return one_f_one_b_row(l.pipe, micros, *stage);
  return interleaved_row(l.pipe, l.interleave, micros, std::min(group_of(l), micros), *stage);
}

std::int64_t send_buffers(LayoutConfig const& layout, Schedule const& schedule) {
  return layout.interleave_group > layout.pipe ? send_buffers_needed(schedule) : 1;
}

}  // namespace selenite
