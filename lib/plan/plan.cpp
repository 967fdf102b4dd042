#include "plan/plan.hpp"

#include <algorithm>

#include "core/batch_ramp.hpp"
#include "core/text.hpp"
#include "schedule/play.hpp"
#include "schedule/stages.hpp"
#include "train/grad_sync.hpp"
#include "train/optimizer.hpp"
#include "train/passes.hpp"

namespace selenite {

char const* const flops_convention =
    "model FLOPs: GEMMs of the forward pass three times, attention counted whole (unmasked), head included; "
    "MFU = model FLOPs, HFU = model FLOPs and recomputation, each over time x ranks x peak";

namespace {

void add(Tally& sum, Tally const& t, double times) {
  for (std::size_t i = 0; i < cause_count; ++i) sum.seconds[i] += times * t.seconds[i];
  sum.flops += times * t.flops, sum.model_flops += times * t.model_flops,
      sum.hardware_flops += times * t.hardware_flops;
  sum.bytes += times * t.bytes, sum.collective_bytes += times * t.collective_bytes;
  sum.sent.add(t.sent, static_cast<std::int64_t>(times));
  sum.launches += static_cast<std::int64_t>(times) * t.launches;
}

/// Walks each kind of action of a stage once and counts it as often as the schedule has it; the last micro-batch's
/// backward pass, which may start the gradient sync, on its own.
class Walk {
 public:
  Walk(StageState& stage, Machine const* machine) : stage_(stage), machine_(machine) {}

  StagePlan plan() {
    StagePlan plan{.footprint = stage_.footprint()};
    Ctx end = context();  // the last micro-batch's backward passes and what they overlap with
    std::int64_t const micros = stage_.schedule().micros;
    for (std::size_t c = stage_.chunk_count(); c-- > 0;) {
      Chunk const chunk(static_cast<std::int64_t>(c));
      plan.layers.insert(plan.layers.begin(), stage_.chunk(chunk).model->spec().count);
      ActionSeconds& seconds = *plan.seconds.chunks.insert(plan.seconds.chunks.begin(), ActionSeconds{});
      seconds.forward = walk(plan.step, micros, [&](Ctx& ctx) { forward_pass(ctx, stage_, chunk, Micro(0)); });
      backward(plan.step, micros - 1, seconds, chunk, Micro(0));
      if (micros > 1) walk(ignored_, 1, [&](Ctx& ctx) { forward_pass(ctx, stage_, chunk, Micro(micros - 1)); });
      backward(end, seconds, chunk, Micro(micros - 1));
    }
    double const passed = end.elapsed();
    sync_gradients(end, stage_);
    plan.seconds.sync = end.elapsed() - passed;
    add(plan.step, end.tally(), 1);
    Ctx optimizer = context();
    optimizer_step(optimizer, stage_, Progress{});
    add(plan.step, optimizer.tally(), 1);
    forward_pass(optimizer, stage_, Chunk(0), Micro(0));  // may have to wait for weights
    stage_.chunk(Chunk(0)).slot[0].release(0);
    plan.seconds.step = optimizer.elapsed() - plan.seconds.chunks[0].forward;
    return plan;
  }

 private:
  Ctx context() { return Ctx(stage_.place(), machine_); }

  template <class Body>
  double walk(Tally& sum, std::int64_t times, Body&& body) {
    Ctx ctx = context();
    body(ctx);
    add(sum, ctx.tally(), static_cast<double>(times));
    return ctx.elapsed();
  }

  /// The backward pass of all micro-batches but the last, which are alike.
  void backward(Tally& sum, std::int64_t times, ActionSeconds& seconds, Chunk chunk, Micro micro) {
    if (times == 0) return;
    Ctx ctx = context();
    backward(ctx, seconds, chunk, micro);
    add(sum, ctx.tally(), static_cast<double>(times));
  }
  void backward(Ctx& ctx, ActionSeconds& seconds, Chunk chunk, Micro micro) {
    auto timed = [&](auto pass) {
      double const before = ctx.elapsed();
      pass(ctx, stage_, chunk, micro);
      return ctx.elapsed() - before;
    };
    if (splits_backward(stage_.schedule())) {
      seconds.backward_input = timed(backward_input_pass);
      seconds.backward_weight = timed(backward_weight_pass);
    } else {
      seconds.backward = timed(backward_pass);
    }
  }

  Tally ignored_;
  StageState& stage_;
  Machine const* machine_;
};

}  // namespace

Plan make_plan(Config const& given, ProcessGrid const& grid, Rank rank, Machine const* machine) {
  for (std::int64_t const batch : BatchRamp(given.train).batches()) {
    Schedule const of_batch = make_schedule(given.layout, micro_batches(given, batch));
    validate_schedule(of_batch, {}, send_buffers(given.layout, of_batch));
  }
  Schedule const schedule = make_schedule(given.layout, micro_batches(given, given.train.global_batch));
  Config config = given;  // layers are split once, not by every stage
  config.layout.stages = stages_text(chunk_layers(given, schedule.virtual_stages()));
  Plan plan{.micros = schedule.micros};
  auto const replicas = static_cast<double>(grid.world() / grid.size(Axis::pipe));
  std::vector<StageSeconds> seconds;
  for (std::int64_t s = 0; s < grid.size(Axis::pipe); ++s) {
    Coords at = grid.coords(rank);
    at[static_cast<std::size_t>(Axis::pipe)] = s;
    StageState stage(config, grid, grid.rank(at));
    for (Parameter const* p : stage.parameters())
      if (!p->spec.second_copy) plan.parameters += p->spec.shape.count();
    StagePlan const& walked = plan.stages.emplace_back(Walk(stage, machine).plan());
    seconds.push_back(walked.seconds);
    plan.model_flops += walked.step.model_flops * replicas;
    plan.hardware_flops += walked.step.hardware_flops * replicas;
  }
  Played const played = timeline(schedule, seconds, send_buffers(config.layout, schedule));
  for (std::size_t s = 0; s < plan.stages.size(); ++s) plan.stages[s].busy = played.busy[s];
  StagePlan const& own = plan.stages[static_cast<std::size_t>(grid.coord(rank, Axis::pipe))];
  plan.footprint = own.footprint, plan.step = own.step, plan.step_seconds = played.seconds;
  return plan;
}

namespace {
std::string row(std::string const& label, std::string const& value) {
  std::string line = "  " + label;
  line.resize(std::max<std::size_t>(26, line.size() + 1), ' ');
  return line + value + "\n";
}

std::string describe_layout(Plan const& plan, Config const& c) {
  ProcessGrid const grid = make_grid(c.layout);
  std::string axes;
  for (Axis axis : {Axis::tensor, Axis::context, Axis::expert, Axis::data, Axis::pipe})
    if (grid.size(axis) > 1) axes += concat(axes.empty() ? "" : " x ", name(axis), " ", grid.size(axis));
  return concat("Layout: ", grid.world(), grid.world() == 1 ? " rank" : " ranks", axes.empty() ? "" : " = ", axes,
                "; micro-batch ", c.train.micro_batch, ", global batch ", c.train.global_batch, ", ", plan.micros,
                " micro-batches a rank and step\n");
}

bool alike(StagePlan const& a, StagePlan const& b) {
  return a.footprint == b.footprint && a.layers == b.layers && a.step.sent == b.step.sent &&
         a.step.flops == b.step.flops;
}

/// Neighbouring stages that hold and do the same share a line.
std::string describe_stages(Plan const& plan) {
  if (plan.stages.size() == 1) return "";
  std::string text = "Stages:\n";
  for (std::size_t first = 0, last = 0; first < plan.stages.size(); first = last) {
    StagePlan const& stage = plan.stages[first];
    while (last < plan.stages.size() && alike(plan.stages[last], stage)) ++last;
    std::vector<std::string> layers;
    for (std::int64_t n : stage.layers) layers.push_back(concat(n));
    text += row(
        last - first == 1 ? concat(first) : concat(first, " to ", last - 1),
        concat(join(layers, "+"), " layers, ", format_bytes(static_cast<double>(stage.footprint.total())), " (slots ",
               format_bytes(static_cast<double>(stage.footprint.slots)), "), ", format_count(stage.step.flops),
               "FLOPs and ", format_bytes(static_cast<double>(stage.step.sent.total())), " sent a rank and step"));
  }
  return text;
}

std::string describe_sent(SentBytes const& sent) {
  std::string text;
  for (unsigned bits = 1; bits < 1u << axis_count; ++bits) {
    AxisSet axes;
    for (int a = 0; a < axis_count; ++a)
      if (bits >> a & 1u) axes = axes.with(static_cast<Axis>(a));
    if (sent[axes] > 0) text += row("sent over " + to_string(axes), format_bytes(static_cast<double>(sent[axes])));
  }
  std::int64_t const messages = sent[Channel::forward] + sent[Channel::backward] + sent[Channel::tied];
  if (messages > 0) text += row("sent to other stages", format_bytes(static_cast<double>(messages)));
  return text;
}

}  // namespace

std::string describe(Plan const& plan, Config const& c, Machine const* machine) {
  std::string text =
      concat("Model: ", format_count(static_cast<double>(plan.parameters)), " parameters; ", c.model.layers,
             " layers, hidden ", c.model.hidden, ", ", c.model.heads, " heads, vocabulary ", c.model.vocab_size,
             " (padded to ", c.model.padded_vocab(), "), sequence ", c.model.sequence_length, "\n");
  text += describe_layout(plan, c);
  text += "Memory of a rank:\n";
  for (auto const& [label, bytes] : plan.footprint.rows())
    text += row(label, concat(format_bytes(static_cast<double>(bytes)), "  (", bytes, " bytes)"));
  text += row("total", concat(format_bytes(static_cast<double>(plan.footprint.total())), "  (", plan.footprint.total(),
                              " bytes)"));
  auto const tokens = static_cast<double>(c.train.global_batch * c.model.sequence_length);
  text += describe_stages(plan);
  text += "A step:\n" + row("tokens", format_count(tokens)) + row("model FLOPs", format_count(plan.model_flops)) +
          row("hardware FLOPs", format_count(plan.hardware_flops)) +
          row("executed FLOPs a rank", format_count(plan.step.flops)) + describe_sent(plan.step.sent);
  if (!machine) return text + concat("Counted as ", flops_convention, ".\n");
  text += row("expected time", format_duration(plan.step_seconds));
  if (plan.stages.size() > 1)
    text += row("  in the bubble", format_duration(plan.step_seconds - plan.stages.front().busy));
  bool const links = make_grid(c.layout).world() == 1 || machine->link_bandwidth > 0;
  for (std::size_t i = 0; i < cause_count; ++i) {
    Cause const cause = static_cast<Cause>(i);
    bool const known = links || cause != Cause::communication;
    text += row(concat("  ", name(cause)),
                known ? format_duration(plan.step.seconds[i]) : "not known (the machine has no figures for links)");
  }
  double const peak = machine->peak(c.train.precision == Precision::fp32 ? DType::fp32 : DType::bf16),
               ranks = static_cast<double>(make_grid(c.layout).world());
  text += row("tokens/s", format_count(tokens / plan.step_seconds)) +
          row("MFU", concat(format_double(static_cast<double>(static_cast<int>(1000 * plan.model_flops /
                                                                               plan.step_seconds / ranks / peak)) /
                                          10),
                            " % of ", format_count(peak), "FLOP/s (", machine->name, ")"));
  return text + concat("Counted as ", flops_convention, ".\n");
}

}  // namespace selenite
