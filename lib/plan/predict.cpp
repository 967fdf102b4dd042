#include "plan/predict.hpp"

#include <algorithm>

#include "exec/price.hpp"

namespace selenite {
namespace {

/// What a stage waits for in a played step, in seconds.
struct Waits {
  double message = 0;  ///< while its input is on the way
  double bubble = 0;   ///< while there is none, or no buffer for its output, or other stages end their step
};

class Waiting {
 public:
  Waiting(Plan const& plan, std::size_t stage)
      : plan_(plan), schedule_(plan.schedule), stage_(static_cast<std::int64_t>(stage)) {
    auto const cells = static_cast<std::size_t>(schedule_.virtual_stages() * schedule_.micros);
    sent_[0].resize(cells), sent_[1].resize(cells);
    std::int64_t const p = schedule_.stages;
    for (std::int64_t const neighbour : {(stage_ + 1) % p, (stage_ + p - 1) % p}) note_sends(neighbour);
  }

  Waits waits() const {
    auto const& row = schedule_.rows[static_cast<std::size_t>(stage_)];
    auto const& spans = plan_.played.spans[static_cast<std::size_t>(stage_)];
    Waits waits;
    double free = 0;
    for (std::size_t i = 0; i < row.size(); ++i) {
      double const message = spans[i].start > free ? on_the_way(row[i], free, spans[i].start) : 0;
      waits.message += message;
      waits.bubble += std::max(0.0, spans[i].start - free - message);
      free = spans[i].end;
    }
    waits.bubble += plan_.played.seconds - free;
    return waits;
  }

 private:
  static std::size_t direction(What what) { return what == What::forward ? 0 : 1; }
  std::size_t cell(std::int64_t virtual_stage, Micro micro) const {
    return static_cast<std::size_t>(virtual_stage * schedule_.micros + *micro);
  }

  void note_sends(std::int64_t stage) {
    auto const& row = schedule_.rows[static_cast<std::size_t>(stage)];
    for (std::size_t i = 0; i < row.size(); ++i)
      if (schedule_.sends(Stage(stage), row[i]))
        sent_[direction(row[i].what)][cell(schedule_.virtual_stage(Stage(stage), row[i].chunk), row[i].micro)] =
            plan_.played.spans[static_cast<std::size_t>(stage)][i].end;
  }

  /// Seconds between `from` and `to` in which the input of the action travels.
  double on_the_way(Action a, double from, double to) const {
    if (!schedule_.receives(Stage(stage_), a)) return 0;
    bool const forward = a.what == What::forward;
    std::int64_t const sender = schedule_.virtual_stage(Stage(stage_), a.chunk) + (forward ? -1 : 1);
    ActionSeconds const& seconds = plan_.stages[static_cast<std::size_t>(sender % schedule_.stages)]
                                       .seconds.chunks[static_cast<std::size_t>(sender / schedule_.stages)];
    double const sent = sent_[direction(a.what)][cell(sender, a.micro)],
                 arrived = sent + (forward ? seconds.forward_message : seconds.backward_message);
    return std::max(0.0, std::min(to, arrived) - std::max(from, sent));
  }

  Plan const& plan_;
  Schedule const& schedule_;
  std::int64_t stage_;
  std::vector<double> sent_[2];  ///< [direction][virtual stage, micro]: when a neighbour sent it
};

/// The axis that a group counts as.
Axis axis_of(AxisSet group, ProcessGrid const& grid) {
  Axis last = Axis::tensor;
  for (Axis axis : {Axis::tensor, Axis::context, Axis::expert, Axis::data, Axis::pipe})
    if (group.has(axis) && grid.size(axis) > 1) last = axis;
  return last;
}

std::vector<std::pair<std::string, double>> exposed(Plan const& plan, ProcessGrid const& grid) {
  Exposed const& own = plan.stages[plan.busiest()].exposed;
  Waits const waits = Waiting(plan, plan.busiest()).waits();
  std::array<double, axis_count> by_axis{};
  for (AxisSet group : AxisSet::subsets())
    by_axis[static_cast<std::size_t>(axis_of(group, grid))] += own.communication[group.bits()];
  by_axis[static_cast<std::size_t>(Axis::pipe)] += waits.message;
  std::vector<std::pair<std::string, double>> list{
      {"gemm", own.gemm},           {"attention", own.attention}, {"memory_bound", own.memory_bound},
      {"recompute", own.recompute}, {"optimizer", own.optimizer}, {"bubble", waits.bubble}};
  for (Axis axis : {Axis::tensor, Axis::context, Axis::expert, Axis::data, Axis::pipe})
    list.emplace_back(concat("communication_", name(axis)), by_axis[static_cast<std::size_t>(axis)]);
  return list;
}

}  // namespace

Prediction predict(Config const& c, Machine const& machine) {
  ProcessGrid const grid = make_grid(c.layout);
  require_links(machine, grid.world());
  Prediction p{.plan = make_plan(c, grid, Rank(0), &machine)};
  double const seconds = p.plan.step_seconds, ranks = static_cast<double>(grid.world());
  p.iteration_seconds = seconds, p.peak = machine.peak(compute_dtype(c.train.precision));
  p.tokens_per_second = static_cast<double>(c.train.global_batch * c.model.sequence_length) / seconds;
  p.model_tflops_per_gpu = p.plan.model_flops / seconds / ranks / 1e12;
  p.hardware_tflops_per_gpu = p.plan.hardware_flops / seconds / ranks / 1e12;
  p.mfu = 1e12 * p.model_tflops_per_gpu / p.peak, p.hfu = 1e12 * p.hardware_tflops_per_gpu / p.peak;
  p.memory = p.plan.stages[p.plan.fullest()].footprint, p.memory_limit = machine.memory_bytes;
  p.fits = p.memory_limit == 0 || p.memory.total() <= p.memory_limit;
  p.stage = p.plan.busiest();
  p.exposed = exposed(p.plan, grid);
  return p;
}

}  // namespace selenite
