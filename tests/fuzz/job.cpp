#include "tests/fuzz/job.hpp"

#include <mutex>
#include <optional>

#include "comm/comm.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "run/checkpoints.hpp"
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
        stage_(config, grid_, comm.rank()),
        planned_(stage_.footprint()) {
    comm.set_grid(grid_);
    stage_.take_memory(&comm_);
  }

  void run(Part const& part) {
    if (!config_.layout.overlap.empty() && !executor_.cuda) lane_.emplace(comm_);
    Ctx ctx(stage_.place(), executor_, &comm_, lane_ ? &*lane_ : nullptr);
    Progress at = begin(ctx, part);
    ctx.wait_for_comm();
    ctx.tally() = {};
    SentBytes const before = comm_.sent();
    Planned planned;
    while (at.step < part.until) {
      bool const first = at.step == 0;
      std::int64_t const consumed = at.consumed;
      StepResult const result = train_step(ctx, stage_, at, load(consumed), [&](Action action) {
        if (!first || action.what != What::step) return;
        ctx.synchronize();
        collect(stage_.gradients, 1 / backward_seed(stage_), trained_.gradients);
      });
      if (*comm_.rank() == 0) trained_.losses.push_back(result.loss), trained_.norms.push_back(result.grad_norm);
      planned.add(config_, grid_, comm_.rank(), stage_.global_batch());
    }
    ctx.wait_for_comm();
    ctx.synchronize();
    collect(stage_.exact_weights(), 1, trained_.weights);
    collect_amaxes();
    compare_with_plan(ctx.tally(), before, planned, !part.from.empty());
    if (!part.to.empty()) save(ctx, part.to, at);
  }

 private:
  /// What a step is planned to do, summed over the steps.
  struct Planned {
    double flops = 0;
    SentBytes sent;
    void add(Config config, ProcessGrid const& grid, Rank rank, std::int64_t batch) {
      config.train.global_batch = batch, config.train.batch_ramp.clear();
      Plan const plan = make_plan(config, grid, rank, nullptr);
      flops += plan.step.flops, sent.add(plan.step.sent, 1);
    }
  };

  Progress begin(Ctx& ctx, Part const& part) {
    if (part.from.empty()) {
      stage_.initialize(ctx);
      return Progress::initial(config_.train);
    }
    Resumed const resumed = Checkpoints(config_, comm_, stage_, part.from).resume(ctx);
    validate(resumed.at && resumed.skipped.empty() && resumed.changes.empty(), "The checkpoint in ", part.from.string(),
             " could not be loaded, or is of another training.");
    return *resumed.at;
  }
  void save(Ctx& ctx, std::filesystem::path const& folder, Progress const& at) {
    Checkpoints checkpoints(config_, comm_, stage_, folder);
    checkpoints.start(ctx, at);
    checkpoints.poll(true);
  }
  LoadBatch load(std::int64_t consumed) const {
    return [this, consumed](Micro micro, Batch& batch) {
      toy_batch(first_sample(config_, grid_, comm_.rank(), consumed, micro), config_.model.vocab_size, batch);
    };
  }

  void collect(Tensor const& flat, double factor, Wholes& into) {
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
        std::vector<float> const values = on_host(stage_.owned(flat, run));
        for (std::int64_t k = 0; k < run.count; ++k) {
          std::int64_t const element = run.begin + k - layout.offsets[i];
          auto const at =
              static_cast<std::size_t>((first_row + element / cols) * p.shape[-1] + box.begin[-1] + element % cols);
          whole.values[at] = factor * static_cast<double>(values[static_cast<std::size_t>(k)]), ++whole.written[at];
        }
      }
    }
  }

  /// All ranks that share a matrix must have the same.
  void collect_amaxes() {
    std::lock_guard const lock(mutex_);
    for (auto const& [name, row] : fp8_history_rows(stage_)) {
      auto const [place, first] = trained_.amaxes.emplace(name, on_host(row));
      if (!first && place->second != on_host(row))
        trained_.wrong.push_back(concat("rank ", comm_.rank(), " has other largest magnitudes of ", name));
    }
  }

  void compare_with_plan(Tally const& tally, SentBytes sent, Planned const& planned, bool goes_on) {
    std::lock_guard const lock(mutex_);
    auto check = [&](std::string const& what, auto expected, auto measured) {
      if (expected != measured)
        trained_.wrong.push_back(
            concat("rank ", comm_.rank(), ": ", what, " planned ", expected, ", measured ", measured));
    };
    // the larger batches of a ramp may be over where a training goes on
    if (goes_on && !config_.train.batch_ramp.empty())
      check("more bytes held", false, stage_.measured().total() > planned_.total());
    else
      check("bytes held", planned_.total(), stage_.measured().total());
    check("bytes held by the plan", make_plan(config_, grid_, comm_.rank(), nullptr).footprint.total(),
          planned_.total());
    check("FLOPs", planned.flops, tally.flops);
    sent.add(planned.sent, 1);
    check("bytes sent", sent.total(), comm_.bytes_sent());
    trained_.bytes_sent += comm_.bytes_sent();
    for (AxisSet axes : AxisSet::subsets())
      check(concat("bytes sent over ", to_string(axes)), sent[axes], comm_.sent()[axes]);
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
  Executor executor_{config_.run.backend, 0};
  std::optional<CommLane> lane_;
};

}  // namespace

Trained train_as_threads(Config const& config, Part const& part, Wrap const& wrap) {
  Trained trained;
  std::mutex mutex;
  run_threads(make_grid(config.layout).world(), [&](Comm& comm) {
    set_threads(1);  // the ranks themselves fill the cores
    std::unique_ptr<Comm> const wrapped = wrap ? wrap(comm) : nullptr;
    RankJob(config, wrapped ? *wrapped : comm, trained, mutex).run(part);
  });
  return trained;
}

}  // namespace selenite::test
