#include "plan/planned_schedule.hpp"

#include <algorithm>
#include <cmath>

#include "core/text.hpp"
#include "schedule/draw.hpp"

namespace selenite {

PlannedSchedule plan_schedule(Config const& config, Machine const* machine) {
  if (machine) return planned_schedule(make_plan(config, make_grid(config.layout), Rank(0), machine), *machine);
  Schedule const schedule = make_schedule(config.layout, micro_batches(config, config.train.global_batch));
  auto const seconds = same_seconds(schedule, {.forward = 1, .backward = 2, .backward_input = 1, .backward_weight = 1});
  return {schedule, timeline(schedule, seconds, send_buffers(config.layout, schedule)), ""};
}

PlannedSchedule planned_schedule(Plan const& plan, Machine const& machine) {
  return {plan.schedule, plan.played, machine.name};
}

namespace {

std::string percent(double fraction) { return format_double(std::round(1000 * fraction) / 10) + " %"; }

std::string bubble_line(PlannedSchedule const& p) {
  auto const [least, most] = std::minmax_element(p.played.busy.begin(), p.played.busy.end());
  double const step = p.played.seconds;
  auto const stage = [&](auto at) { return at - p.played.busy.begin(); };
  std::string const idle = percent(1 - *least / step) == percent(1 - *most / step)
                               ? concat(percent(1 - *least / step), " of every stage's time")
                               : concat(percent(1 - *most / step), " (stage ", stage(most), ") to ",
                                        percent(1 - *least / step), " (stage ", stage(least), ") of a stage's time");
  std::string const whole = p.machine.empty() ? concat(format_double(step), " units") : format_duration(step);
  return concat("Bubble: ", idle, "; the step takes ", whole, "\n");
}

/// What a stage's chunks hold at once, chunks joined by "+".
std::string slots_line(Schedule const& s) {
  std::vector<std::string> stages;
  for (std::int64_t r = 0; r < s.stages; ++r) {
    std::vector<std::string> chunks;
    for (std::int64_t c = 0; c < s.chunks; ++c) chunks.push_back(concat(slots_needed(s, Stage(r), Chunk(c))));
    stages.push_back(join(chunks, "+"));
  }
  return concat("Slots of the stages", s.chunks > 1 ? " (chunks added)" : "", ": ", join(stages, " "), "\n");
}

}  // namespace

std::string title(PlannedSchedule const& p) {
  Schedule const& s = p.schedule;
  return concat(s.stages, s.stages == 1 ? " stage, " : " stages, ", s.chunks,
                s.chunks == 1 ? " chunk and " : " chunks and ", s.micros,
                s.micros == 1 ? " micro-batch" : " micro-batches", ", in times of ",
                p.machine.empty() ? "F 1, B 2, I 1, W 1" : p.machine);
}

std::string describe(PlannedSchedule const& p) {
  return concat("Schedule of ", title(p), ":\n", to_string(p.schedule), "\n", draw(p.schedule, p.played), "\n",
                bubble_line(p), slots_line(p.schedule));
}

}  // namespace selenite
