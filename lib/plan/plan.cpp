#include "plan/plan.hpp"

#include <algorithm>

namespace selenite {

Plan make_plan(Config const& config, ProcessGrid const& grid, Rank rank, Machine const* machine, Walking walking) {
  Pipeline pipeline(config, grid, rank, machine, walking);
  Plan plan{.micros = pipeline.schedule().micros, .stages = pipeline.plans(), .schedule = pipeline.schedule()};
  auto const replicas = static_cast<double>(grid.world() / grid.size(Axis::pipe));
  std::vector<StageSeconds> seconds;
  for (StagePlan const& stage : plan.stages) {
    plan.parameters += stage.parameters;
    plan.model_flops += stage.step.model_flops * replicas;
    plan.hardware_flops += stage.step.hardware_flops * replicas;
    seconds.push_back(stage.seconds);
  }
  plan.played = pipeline.order().timeline(seconds);
  for (std::size_t s = 0; s < plan.stages.size(); ++s) plan.stages[s].busy = plan.played.busy[s];
  StagePlan const& own = plan.stages[static_cast<std::size_t>(grid.coord(rank, Axis::pipe))];
  plan.footprint = own.footprint, plan.step = own.step, plan.step_seconds = plan.played.seconds;
  return plan;
}

std::size_t Plan::fullest() const {
  auto const most = std::ranges::max_element(stages, {}, [](StagePlan const& s) { return s.footprint.total(); });
  return static_cast<std::size_t>(most - stages.begin());
}

std::size_t Plan::busiest() const {
  auto const most = std::ranges::max_element(stages, {}, [](StagePlan const& s) { return s.exposed.compute(); });
  return static_cast<std::size_t>(most - stages.begin());
}

}  // namespace selenite
