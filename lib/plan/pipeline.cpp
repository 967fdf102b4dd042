#include "plan/pipeline.hpp"

#include <algorithm>
#include <map>

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
/// backward pass, which may start the gradient sync, on its own: what it takes longer counts to the sync.
class Walk {
 public:
  Walk(StageState& stage, Machine const* machine) : stage_(stage), machine_(machine) {}

  StagePlan plan() {
    plan_.footprint = stage_.footprint();
    for (Parameter const* p : stage_.parameters())
      if (!p->spec.second_copy) plan_.parameters += p->spec.shape.count();
    for (std::size_t c = 0; c < stage_.chunk_count(); ++c) {
      Chunk const chunk(static_cast<std::int64_t>(c));
      plan_.layers.push_back(stage_.chunk(chunk).model->spec().count);
      plan_.seconds.chunks.emplace_back();
    }
    std::int64_t const micros = stage_.schedule().micros;
    Ctx end = context();  // the last micro-batch's backward passes and what they overlap with
    for (std::size_t c = stage_.chunk_count(); c-- > 0;) {
      Chunk const chunk(static_cast<std::int64_t>(c));
      ActionSeconds& seconds = plan_.seconds.chunks[c];
      forward(seconds, chunk, micros);
      if (micros > 1) {
        Ctx ctx = context();
        backward(ctx, seconds, chunk, Micro(0));
        count(ctx, static_cast<double>(micros - 1));
        before_ += ctx.elapsed();
        forward_pass(ctx, stage_, chunk, Micro(micros - 1));
        ActionSeconds last;
        backward(end, last, chunk, Micro(micros - 1));
      } else {
        backward(end, seconds, chunk, Micro(0));
        before_ = end.elapsed();
      }
    }
    finish(end);
    return plan_;
  }

 private:
  Ctx context() { return Ctx(stage_.place(), machine_); }
  void count(Ctx& ctx, double times) {
    add(plan_.step, ctx.tally(), times);
    plan_.exposed.add(ctx.exposed(), times);
  }

  void forward(ActionSeconds& seconds, Chunk chunk, std::int64_t micros) {
    Ctx ctx = context();
    forward_pass(ctx, stage_, chunk, Micro(0));
    count(ctx, static_cast<double>(micros));
    seconds.forward = ctx.elapsed(), seconds.forward_message = ctx.message(Channel::forward);
    if (*chunk == 0) first_forward_ = ctx.exposed();
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
    seconds.backward_message = stage_.chunk(chunk).d_input.empty() ? 0 : ctx.message(Channel::backward);
  }

  /// Gradient sync and optimizer step.
  void finish(Ctx& end) {
    sync_gradients(end, stage_);
    plan_.seconds.sync = std::max(0.0, end.elapsed() - before_);
    count(end, 1);
    Ctx optimizer = context();
    optimizer_step(optimizer, stage_, Progress{});
    add(plan_.step, optimizer.tally(), 1);
    forward_pass(optimizer, stage_, Chunk(0), Micro(0));  // may have to wait for weights
    stage_.chunk(Chunk(0)).slot[0].release(0);
    plan_.exposed.add(optimizer.exposed()), plan_.exposed.add(first_forward_, -1);
    plan_.seconds.step = std::max(0.0, optimizer.elapsed() - plan_.seconds.chunks[0].forward);
  }

  StageState& stage_;
  Machine const* machine_;
  StagePlan plan_;
  Exposed first_forward_;
  double before_ = 0;  ///< the gradient sync: of one micro-batch's backward passes
};

}  // namespace

CheckedSchedules::CheckedSchedules(Config const& config) : all(config), order(Schedule{}) {
  for (auto const& [batch, schedule] : all.by_batch) {
    PlayOrder checked = validate_schedule(schedule, {}, all.send_buffers);
    if (batch == config.train.global_batch) order = std::move(checked);
  }
}

Pipeline::Pipeline(Config const& config, ProcessGrid const& grid, Rank rank, Machine const* machine, Walking walking,
                   std::shared_ptr<CheckedSchedules const> schedules)
    : config_(config),
      grid_(grid),
      rank_(rank),
      machine_(machine),
      schedules_(schedules ? std::move(schedules) : std::make_shared<CheckedSchedules const>(config)) {
  layers_ = chunk_layers(config, schedule().virtual_stages());
  config_.layout.stages = stages_text(layers_);  // split once, not by every stage
  kinds_ = kinds(walking);
  state_.resize(kinds_.size());
}

Schedule const& Pipeline::schedule() const { return schedules_->all.by_batch.at(config_.train.global_batch); }

Rank Pipeline::rank_of(std::int64_t stage) const {
  Coords at = grid_.coords(rank_);
  at[static_cast<std::size_t>(Axis::pipe)] = stage;
  return grid_.rank(at);
}

/// Where the stage's ranks begin on a node: groups and neighbours of stages that begin alike lie alike, but for the
/// pipeline's ends. All the same where each stage fills nodes, or there are none.
std::int64_t Pipeline::place_in_node(std::int64_t stage) const {
  std::int64_t const node = machine_ ? machine_->cluster.ranks_per_node : 0, ranks = grid_.world() / stages();
  if (node == 0 || grid_.world() <= node) return 0;
  return grid_.world() % node == 0 ? stage * ranks % node : stage;  // the last node is not full: none are alike
}

std::vector<std::vector<std::int64_t>> Pipeline::kinds(Walking walking) const {
  std::map<std::vector<std::int64_t>, std::size_t> place;
  std::vector<std::vector<std::int64_t>> kinds;
  for (std::int64_t s = 0; s < stages(); ++s) {
    // the step's totals, two figures, are summed over stages, too: of the ranks that do, the first two send more
    bool const sums_more = s == 1 && grid_.size({Axis::context, Axis::expert, Axis::data}) == 1;
    std::vector<std::int64_t> key{s == 0, s + 1 == stages(), sums_more};
    for (std::int64_t c = 0; c < schedule().chunks; ++c)
      key.push_back(layers_[static_cast<std::size_t>(schedule().virtual_stage(Stage(s), Chunk(c)))]);
    key.push_back(place_in_node(s));
    // Which ranks send a figure more of a sum as small as the step's totals is a matter of their place in the group:
    // the stage of the rank that asks is exact.
    if (walking == Walking::each || s == grid_.coord(rank_, Axis::pipe)) key.push_back(s);
    auto const [at, fresh] = place.emplace(key, kinds.size());
    if (fresh) kinds.emplace_back();
    kinds[at->second].push_back(s);
  }
  return kinds;
}

void Pipeline::for_kinds(std::function<void(std::vector<std::int64_t> const& stages, StageState& state)> const& visit) {
  for (std::size_t k = 0; k < kinds_.size(); ++k) {
    if (!state_[k])
      state_[k] = std::make_unique<StageState>(config_, grid_, rank_of(kinds_[k].front()), Purposes::training,
                                               std::shared_ptr<Schedules const>(schedules_, &schedules_->all));
    visit(kinds_[k], *state_[k]);
  }
}

std::vector<Footprint> Pipeline::footprints() {
  std::vector<Footprint> list(static_cast<std::size_t>(stages()));
  for_kinds([&](std::vector<std::int64_t> const& stages, StageState& state) {
    for (std::int64_t s : stages) list[static_cast<std::size_t>(s)] = state.use_slots(schedules_->all.slots(Stage(s)));
  });
  return list;
}

std::vector<StagePlan> Pipeline::plans() {
  std::vector<StagePlan> list(static_cast<std::size_t>(stages()));
  for_kinds([&](std::vector<std::int64_t> const& stages, StageState& state) {
    StagePlan const plan = Walk(state, machine_).plan();
    for (std::int64_t s : stages) list[static_cast<std::size_t>(s)] = plan;
  });
  auto const held = footprints();
  for (std::size_t s = 0; s < list.size(); ++s) list[s].footprint = held[s];
  return list;
}

}  // namespace selenite
