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
      seconds.forward = walk(plan.step, micros, [&](Ctx& ctx) {
        forward_pass(ctx, stage_, chunk, Micro(0));
        seconds.forward_message = ctx.message(Channel::forward);
      });
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
      seconds.backward_message = ctx.message(Channel::backward);
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

}  // namespace selenite
