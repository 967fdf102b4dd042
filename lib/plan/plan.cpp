#include "plan/plan.hpp"

#include "core/text.hpp"
#include "schedule/play.hpp"
#include "train/passes.hpp"

namespace selenite {

char const* const flops_convention =
    "model FLOPs: GEMMs of the forward pass three times, attention counted whole (unmasked), head included; "
    "MFU = model FLOPs, HFU = model FLOPs and recomputation, each over time x ranks x peak";

ProcessGrid make_grid(LayoutConfig const& l) { return ProcessGrid({l.tensor, l.context, l.expert, l.data, l.pipe}); }

Schedule make_schedule(Config const& config, ProcessGrid const& grid) {
  std::int64_t const stages = grid.size(Axis::pipe),
                     micros = config.train.global_batch / (config.train.micro_batch * grid.size(Axis::data));
  if (stages == 1) return one_f_one_b(1, micros);
  switch (config.layout.schedule) {
    case ScheduleKind::zero_bubble:
      return zero_bubble_h1(stages, micros);
    case ScheduleKind::zero_bubble_h2:
      return zero_bubble_h2(stages, micros);
    case ScheduleKind::one_f_one_b:
    case ScheduleKind::interleaved:
      break;
  }
  return config.layout.interleave > 1 ? interleaved(stages, config.layout.interleave, micros, stages)
                                      : one_f_one_b(stages, micros);
}

namespace {
/// What `body` adds to the tally.
template <class Body>
Tally priced(StageState& stage, Machine const* machine, Body&& body) {
  Ctx ctx(stage.place(), machine);
  body(ctx);
  return ctx.tally();
}
void add(Tally& sum, Tally const& t, double times) {
  for (std::size_t i = 0; i < cause_count; ++i) sum.seconds[i] += times * t.seconds[i];
  sum.flops += times * t.flops, sum.model_flops += times * t.model_flops,
      sum.hardware_flops += times * t.hardware_flops;
  sum.bytes += times * t.bytes, sum.collective_bytes += times * t.collective_bytes;
  sum.launches += static_cast<std::int64_t>(times) * t.launches;
}
}  // namespace

Plan make_plan(Config const& config, ProcessGrid const& grid, Rank rank, Machine const* machine) {
  Schedule const schedule = make_schedule(config, grid);
  validate_schedule(schedule);
  StageState stage(config, grid, rank, schedule);
  Plan plan{.footprint = stage.footprint(), .micros = schedule.micros};
  for (Parameter const* p : stage.parameters()) plan.parameters += p->spec.shape.count();

  GptChunk::Saved saved;
  Tally const forward = priced(stage, machine, [&](Ctx& ctx) { forward_pass(ctx, stage, 0, saved); });
  Tally const backward = priced(stage, machine, [&](Ctx& ctx) { backward_pass(ctx, stage, 0, saved); });
  Tally const sync = priced(stage, machine, [&](Ctx& ctx) { sync_gradients(ctx, stage); });
  Tally const step = priced(stage, machine, [&](Ctx& ctx) { optimizer_step(ctx, stage, 1, 0); });
  auto const micros = static_cast<double>(plan.micros);
  add(plan.step, forward, micros), add(plan.step, backward, micros), add(plan.step, sync, 1), add(plan.step, step, 1);
  ActionSeconds const passes{.forward = forward.total_seconds(), .backward = backward.total_seconds()};
  plan.step_seconds = play(schedule, same_seconds(schedule, passes, sync.total_seconds(), step.total_seconds()));
  auto const ranks = static_cast<double>(grid.world());
  plan.model_flops = plan.step.model_flops * ranks, plan.hardware_flops = plan.step.hardware_flops * ranks;
  return plan;
}

namespace {
std::string row(std::string const& label, std::string const& value) {
  std::string line = "  " + label;
  line.resize(26, ' ');
  return line + value + "\n";
}
}  // namespace

std::string describe(Plan const& plan, Config const& c, Machine const* machine) {
  std::string text =
      concat("Model: ", format_count(static_cast<double>(plan.parameters)), " parameters; ", c.model.layers,
             " layers, hidden ", c.model.hidden, ", ", c.model.heads, " heads, vocabulary ", c.model.vocab_size,
             " (padded to ", c.model.padded_vocab(), "), sequence ", c.model.sequence_length, "\n");
  text += concat("Layout: ", c.layout.data, " data ranks; micro-batch ", c.train.micro_batch, ", global batch ",
                 c.train.global_batch, ", ", plan.micros, " micro-batches a rank and step\n");
  text += "Memory of a rank:\n";
  for (auto const& [label, bytes] : plan.footprint.rows())
    text += row(label, concat(format_bytes(static_cast<double>(bytes)), "  (", bytes, " bytes)"));
  text += row("total", concat(format_bytes(static_cast<double>(plan.footprint.total())), "  (", plan.footprint.total(),
                              " bytes)"));
  auto const tokens = static_cast<double>(c.train.global_batch * c.model.sequence_length);
  text += "A step:\n" + row("tokens", format_count(tokens)) + row("model FLOPs", format_count(plan.model_flops)) +
          row("hardware FLOPs", format_count(plan.hardware_flops)) +
          row("executed FLOPs a rank", format_count(plan.step.flops));
  if (!machine) return text + concat("Counted as ", flops_convention, ".\n");
  text += row("expected time", format_duration(plan.step_seconds));
  bool const links = c.layout.data == 1 || machine->link_bandwidth > 0;
  for (std::size_t i = 0; i < cause_count; ++i) {
    Cause const cause = static_cast<Cause>(i);
    bool const known = links || cause != Cause::communication;
    text += row(concat("  ", name(cause)),
                known ? format_duration(plan.step.seconds[i]) : "not known (the machine has no figures for links)");
  }
  double const peak = machine->peak(c.train.precision == Precision::fp32 ? DType::fp32 : DType::bf16),
               ranks = static_cast<double>(c.layout.data);
  text += row("tokens/s", format_count(tokens / plan.step_seconds)) +
          row("MFU", concat(format_double(static_cast<double>(static_cast<int>(1000 * plan.model_flops /
                                                                               plan.step_seconds / ranks / peak)) /
                                          10),
                            " % of ", format_count(peak), "FLOP/s (", machine->name, ")"));
  return text + concat("Counted as ", flops_convention, ".\n");
}

}  // namespace selenite
