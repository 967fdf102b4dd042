#include "tests/fuzz/job.hpp"

#include <mutex>
#include <optional>

#include "comm/comm.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "tests/train/support.hpp"

namespace selenite::test {
namespace {

/// One rank's thread.
class RankJob {
 public:
  RankJob(Config const& config, Comm& comm, Trained& trained, std::mutex& mutex)
      : config_(config),
        comm_(comm),
        trained_(trained),
        mutex_(mutex),
        grid_(make_grid(config.layout)),
        stage_(config, grid_, comm.rank(), make_schedule(config, grid_)),
        planned_(stage_.footprint()) {
    comm.set_grid(grid_);
    stage_.take_memory();
  }

  void run(std::int64_t steps) {
    if (!config_.layout.overlap.empty()) lane_.emplace(comm_);
    Ctx ctx(stage_.place(), cpu_, &comm_, lane_ ? &*lane_ : nullptr);
    stage_.initialize(ctx);
    ctx.wait_for_comm();
    ctx.tally() = {};
    SentBytes const before = comm_.sent();
    for (std::int64_t step = 1; step <= steps; ++step) {
      StepResult const result =
          train_step(ctx, stage_, step, (step - 1) * config_.train.global_batch, load(step), [&](Action action) {
            if (step == 1 && action.what == What::step) collect(stage_.gradients, trained_.gradients);
          });
      if (*comm_.rank() == 0) trained_.losses.push_back(result.loss), trained_.norms.push_back(result.grad_norm);
    }
    ctx.wait_for_comm();
    collect(stage_.exact_weights(), trained_.weights);
    compare_with_plan(ctx.tally(), before, static_cast<double>(steps));
  }

 private:
  LoadBatch load(std::int64_t step) const {
    return [this, step](Micro micro, Batch& batch) {
      toy_batch(first_sample(config_, grid_, comm_.rank(), (step - 1) * config_.train.global_batch, micro),
                config_.model.vocab_size, batch);
    };
  }

  void collect(Tensor const& flat, Wholes& into) {
    std::lock_guard const lock(mutex_);
    FlatLayout const& layout = stage_.layout();
    AxisSet const copies{Axis::tensor, Axis::pipe};
    for (std::size_t i = 0; i < stage_.parameters().size(); ++i) {
      Param const& p = stage_.parameters()[i]->spec;
      if (!counts(p, grid_, comm_.rank(), layout.shards == 1 ? AxisSet::all() : copies)) continue;
      Whole& whole = into[p.name];
      whole.values.resize(static_cast<std::size_t>(p.shape.count()));
      whole.written.resize(whole.values.size());
      Box const box = box_of(p, grid_, comm_.rank());
      std::int64_t const cols = box.count[-1], first_row = p.shape.rank() == 2 ? box.begin[0] : 0;
      for (OwnedRun const& run : layout.owned({layout.parameter(i)})) {
        float const* const values = stage_.owned(flat, run).data<float>();
        for (std::int64_t k = 0; k < run.count; ++k) {
          std::int64_t const element = run.begin + k - layout.offsets[i];
          auto const at =
              static_cast<std::size_t>((first_row + element / cols) * p.shape[-1] + box.begin[-1] + element % cols);
          whole.values[at] = static_cast<double>(values[k]), ++whole.written[at];
        }
      }
    }
  }

  void compare_with_plan(Tally const& tally, SentBytes sent, double steps) {
    Plan const plan = make_plan(config_, grid_, comm_.rank(), nullptr);
    std::lock_guard const lock(mutex_);
    auto check = [&](std::string const& what, auto planned, auto measured) {
      if (planned != measured)
        trained_.wrong.push_back(
            concat("rank ", comm_.rank(), ": ", what, " planned ", planned, ", measured ", measured));
    };
    check("bytes held", planned_.total(), stage_.measured().total());
    check("bytes held by the plan", plan.footprint.total(), planned_.total());
    check("FLOPs", plan.step.flops * steps, tally.flops);
    sent.add(plan.step.sent, static_cast<std::int64_t>(steps));
    check("bytes sent", sent.total(), comm_.bytes_sent());
    for (unsigned bits = 0; bits < 1u << axis_count; ++bits) {
      AxisSet axes;
      for (int a = 0; a < axis_count; ++a)
        if (bits >> a & 1u) axes = axes.with(static_cast<Axis>(a));
      check(concat("bytes sent over ", to_string(axes)), sent[axes], comm_.sent()[axes]);
    }
    for (Channel channel : {Channel::forward, Channel::backward, Channel::tied})
      check("bytes sent on a channel", sent[channel], comm_.sent()[channel]);
  }

  Config const& config_;
  Comm& comm_;
  Trained& trained_;
  std::mutex& mutex_;
  ProcessGrid grid_;
  StageState stage_;
  Footprint planned_;
  Cpu cpu_;
  std::optional<CommLane> lane_;
};

}  // namespace

Trained train_as_threads(Config const& config, std::int64_t steps) {
  Trained trained;
  std::mutex mutex;
  run_threads(make_grid(config.layout).world(), [&](Comm& comm) {
    set_threads(1);  // the ranks themselves fill the cores
    RankJob(config, comm, trained, mutex).run(steps);
  });
  return trained;
}

}  // namespace selenite::test
