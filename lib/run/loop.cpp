#include "run/loop.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <exception>
#include <future>
#include <thread>

#include "core/batch_ramp.hpp"
#include "core/files.hpp"
#include "core/parallel_for.hpp"
#include "core/text.hpp"
#include "exec/choose_executor.hpp"
#include "io/metrics.hpp"
#include "io/tensorboard.hpp"
#include "plan/calibrate.hpp"
#include "run/batches.hpp"
#include "run/checkpoints.hpp"
#include "run/continuation.hpp"
#include "run/room.hpp"
#include "run/signals.hpp"
#include "run/statistics.hpp"
#include "run/trace.hpp"
#include "run/watchdog.hpp"

namespace selenite {

std::filesystem::path checkpoint_root(Config const& c) {
  return c.checkpoint.folder.empty() ? std::filesystem::path(c.run.folder) / "checkpoints"
                                     : std::filesystem::path(c.checkpoint.folder);
}

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr int hang_exit_code = 75;

/// Do more ranks share this machine than it has cores? Then a thread that communicates would only be in the way.
bool crowded(Comm& comm) { return all_gather_on_machine(comm, "").size() > std::thread::hardware_concurrency(); }

/// Everything of one rank's run, in the order in which it comes to life.
class Trainer {
 public:
  Trainer(Config const& config, Comm& comm, RunRecord& record, RunLog& log)
      : config_(config),
        comm_(comm),
        record_(record),
        log_(log),
        record_of_hang_(record),
        first_(*comm.rank() == 0),
        grid_(make_grid(config.layout)),
        watchdog_(config.run.watchdog, comm, grid_,
                  {.expired = [this](std::string const& why) { end_job(why, hang_exit_code); },
                   .failed = [this](std::string const& why) { end_job(why, 1); },
                   .alarm = [this](std::string const& text) { log_.alarm(text); }}) {
    validate(!config.layout.blocking_sends,
             "layout.blocking_sends = true can't be run (messages between stages always go "
             "on beside the work; it predicts programs in which they do not). Leave it out.");
    comm_.set_grid(grid_);
    if (config_.run.threads > 0) set_threads(static_cast<int>(config_.run.threads));
    tracer_.emplace(config_, comm_, grid_);
    executor_ = choose_executor(config_.run, comm_);
    if (executor_.cuda) {
      require_products(config_.train.precision, executor_.cuda->cuda().device);
      watchdog_.follow(*executor_.cuda);
    }
    watchdog_.announce("opening the corpora");
    batches_.emplace(config_);
    stage_.emplace(config_, grid_, comm_.rank());
    if (executor_.cuda)
      require_device_room(config_, stage_->footprint(), comm_, executor_.cuda->cuda().device.ordinal);
    else
      require_room(config_, stage_->footprint(), comm_);
    if (config_.checkpoint.every > 0 || config_.checkpoint.save_at_end)
      require_room_to_save(available_memory(), executor_.cuda ? 0 : stage_->footprint().total(),
                           staging_bytes(pieces_to_write(*stage_)), comm_);
    if (executor_.cuda) {  // first: they have memory of their own, and like to make that of the tensors
      watchdog_.announce("connecting the ranks");
      comm_.use(executor_.cuda->cuda());
    }
    watchdog_.announce("measuring the machine");
    machine_ = find_machine(config_, comm_, grid_, executor_);
    plan_ = make_plan(config_, grid_, comm_.rank(), &machine_);
    if (first_) log_.line(describe(plan_, config_, &machine_));
    if (executor_.cuda) prepare_device();
    stage_->take_memory(&comm_);
    if (!config_.layout.overlap.empty() && !executor_.cuda && !crowded(comm_)) lane_.emplace(comm_);
    ctx_.emplace(stage_->place(), executor_, &comm_, lane_ ? &*lane_ : nullptr);
    statistics_.emplace(config_, plan_, machine_);
    watchdog_.announce("looking for checkpoints");
    checkpoints_.emplace(config_, comm_, *stage_, checkpoint_root(config_));
  }

  Ending run() {
    int signal = agreed_signal();
    if (!signal) {
      begin();
      begun_ = true;
      open_outputs();
      signal = agreed_signal();
    }
    while (at_.step < config_.train.steps && !signal) {
      one_step();
      bool const last = at_.step == config_.train.steps;
      if (config_.train.valid_every > 0 && (at_.step % config_.train.valid_every == 0 || last)) validate_model();
      watchdog_.announce(concat("end of step ", at_.step));
      signal = agreed_signal();
      bool const due = config_.checkpoint.every > 0 && at_.step % config_.checkpoint.every == 0;
      if (due || (last && config_.checkpoint.save_at_end) || signal) save();
      committed(checkpoints_->poll(!config_.checkpoint.asynchronous));
    }
    tracer_->finish();
    watchdog_.announce("waiting for the last checkpoint");
    committed(checkpoints_->poll(true));
    ctx_->wait_for_comm();  // weights may still be gathered into memory that goes now
    ctx_->synchronize();    // the times of the last step are known then
    if (signal && first_)
      log_.line(concat("Stopped ", at_.step > 0 ? concat("after step ", at_.step) : "before the first step",
                       " by signal ", signal, "; start the same command again to go on."));
    finish();
    return signal && at_.step < config_.train.steps ? Ending::stopped : Ending::finished;
  }

  /// The message of a failure, with the checkpoint to go on from.
  std::string where_to_go_on() const {
    if (!begun_) return "";
    return checkpoints_ && !checkpoints_->last().empty()
               ? concat(" The last good checkpoint is ", checkpoints_->last().string(), ".")
               : " There is no checkpoint yet.";
  }
  void finish() {
    take_times();
    record_.summary = statistics_->summary();
  }

 private:
  /// Before the memory is taken, and long before the first step: plans of libraries take seconds.
  void prepare_device() {
    watchdog_.announce("making plans of libraries");
    stage_->prepare(executor_.cuda->cuda());
    if (first_)
      for (std::string const& note : executor_.cuda->cuda().notes) log_.line(note);
  }

  /// Says why, also where the file system is what hangs, and ends the job.
  void end_job(std::string const& why, int code) {
    constexpr std::chrono::seconds patience(2);
    record_of_hang_.result = "failed", record_of_hang_.error = why, record_of_hang_.ended = timestamp();
    std::packaged_task<void()> write([this, why] {
      log_.alarm(why);
      write_record(std::filesystem::path(config_.run.folder) / "run.json", record_of_hang_);
    });
    auto const written = write.get_future();
    std::thread(std::move(write)).detach();
    written.wait_for(patience);
    comm_.abort(code);
  }

  void begin() {
    if (config_.checkpoint.resume) {
      watchdog_.announce("loading a checkpoint");
      Resumed const resumed = checkpoints_->resume(*ctx_);
      if (first_)
        for (std::string const& reason : resumed.skipped) log_.line("Skipped: " + reason);
      if (resumed.at) {
        at_ = *resumed.at;
        std::string const folder = checkpoints_->last().string();
        if (first_)
          log_.line(concat("Resumed from ", folder, " after step ", at_.step, " (", at_.consumed, " samples)."));
        validate(at_.consumed == BatchRamp(config_.train).samples(at_.step), "The checkpoint ", folder,
                 " was made with another train.global_batch or batch_ramp (step ", at_.step, ", ", at_.consumed,
                 " samples). Use the batches it was made with, or another run.folder.");
        if (first_)
          for (std::string const& change : resumed.changes) log_.line(concat("Resumed with another ", change, "."));
        return;
      }
    }
    watchdog_.announce("drawing initial weights");
    stage_->initialize(*ctx_);
    if (!config_.checkpoint.load.empty()) {
      IoThread io;
      CheckpointReader reader(io, config_.checkpoint.load);
      require_same_model(parse_config(reader.header().config, {}, config_.checkpoint.load), config_, TakenUp::weights,
                         config_.checkpoint.load);
      restore(*stage_, reader, false);
      publish_weights(*ctx_, *stage_);
      if (first_) log_.line(concat("Weights from ", config_.checkpoint.load, "."));
    }
  }

  void open_outputs() {
    if (!first_) return;
    std::filesystem::path const folder = config_.run.folder;
    if (config_.log.metrics) metrics_.emplace(folder / "metrics.jsonl", at_.step);
    if (config_.log.tensorboard) events_.emplace(folder / "tensorboard", at_.step);
  }

  void one_step() {
    std::int64_t const step = at_.step + 1;
    tracer_->begin_step(*ctx_, step);
    // on a device events between the work cost time of their own: not in every step
    bool const timed =
        !executor_.cuda || tracer_->recording() || step % config_.log.every == 0 || step == config_.train.steps;
    if (timed) ctx_->start_timing(), timed_.push_back(step);
    double const start = now();
    double data_seconds = 0;
    auto const load = batches_->training(*stage_, at_.consumed);
    StepResult const result = train_step(
        *ctx_, *stage_, at_,
        [&](Micro micro, Batch& batch) {
          double const t = now();
          load(micro, batch);
          data_seconds += now() - t;
          tracer_->add("batch", t);
        },
        [&](Action action) {
          watchdog_.announce(concat("step ", step, " ", to_string(action)), Watchdog::Pace::timed);
          tracer_->begin_action(*ctx_, to_string(action));
        });
    double const seconds = now() - start;
    tracer_->end_action(*ctx_);
    if (timed) ctx_->stop_timing();
    if (tracer_->recording() || step == config_.train.steps) {  // the last step's record is to have its own times
      ctx_->wait_for_comm();
      ctx_->synchronize();
    }
    statistics_->add(at_, stage_->global_batch(), result, seconds, data_seconds);
    take_times();
    tracer_->end_step(*ctx_);
    if (DeviceGraphs* const graphs = ctx_->graphs())
      if (auto const note = graphs->take_note()) log_.alarm(concat("Rank ", comm_.rank(), ": ", *note));
    report(result);
  }

  /// On a device those of a step before, which is done.
  void take_times() {
    while (auto const times = ctx_->take_times()) {
      statistics_->add_times(timed_.front(), *times);
      timed_.pop_front();
    }
  }

  void report(StepResult const& result) {
    if (!first_) return;
    if (metrics_) metrics_->append(statistics_->metrics());
    if (events_) {
      std::vector<Scalar> const scalars{{"train/loss", result.loss},
                                        {"train/grad_norm", result.grad_norm},
                                        {"train/lr", result.lr},
                                        {"train/loss_scale", result.loss_scale},
                                        {"speed/mfu", statistics_->mfu(statistics_->median_seconds())}};
      events_->append(at_.step, scalars);
    }
    if (at_.step % config_.log.every == 0 || at_.step == config_.train.steps)
      log_.line(statistics_->line());
    else
      log_.progress(statistics_->progress_line());
  }

  void validate_model() {
    Tally const before = ctx_->tally();
    std::int64_t const micros = config_.train.valid_batches * plan_.micros;
    auto const load = batches_->validation(
        *stage_, at_.step / config_.train.valid_every - (at_.step % config_.train.valid_every == 0));
    StepResult const result = evaluate_batches(*ctx_, *stage_, micros, [&](Micro micro, Batch& batch) {
      watchdog_.announce(concat("validation after step ", at_.step, ", micro-batch ", micro), Watchdog::Pace::timed);
      load(micro, batch);
    });
    ctx_->tally() = before;
    validate(std::isfinite(result.loss), "The validation loss after step ", at_.step,
             " is not finite (the training diverged, or a rank computes wrongly). Lower train.lr or train.clip, "
             "lengthen train.warmup, or skip the data.");
    statistics_->add_validation(result.loss);
    if (!first_) return;
    log_.line(concat("step ", at_.step, "  validation loss ", result.loss, "  perplexity ",
                     std::exp(std::min(20.0, result.loss)), "  (", format_count(result.tokens), " tokens)"));
    if (metrics_) metrics_->append({{"step", at_.step}, {"valid_loss", result.loss}});
    if (events_) {
      std::vector<Scalar> const scalars{{"valid/loss", result.loss}};
      events_->append(at_.step, scalars);
    }
  }

  int agreed_signal() {
    double number = SignalGuard::received();
    comm_.all_reduce({&number, 1}, Reduction::max);
    return static_cast<int>(number);
  }

  void save() {
    watchdog_.announce("starting a checkpoint");
    committed(checkpoints_->poll(true));
    checkpoints_->start(*ctx_, at_);
  }
  void committed(std::optional<std::filesystem::path> const& folder) {
    if (folder && first_) log_.line("Checkpoint " + folder->string());
  }

  Config const& config_;
  Comm& comm_;
  RunRecord& record_;
  RunLog& log_;
  RunRecord record_of_hang_;  ///< for the watchdog's thread
  bool first_, begun_ = false;
  ProcessGrid grid_;
  Executor executor_;
  Machine machine_;
  Plan plan_;
  std::optional<Batches> batches_;
  std::optional<StageState> stage_;
  std::optional<Tracer> tracer_;  // before the lane, whose thread adds to it
  std::optional<CommLane> lane_;
  std::optional<Ctx> ctx_;
  std::optional<Statistics> statistics_;
  std::optional<Checkpoints> checkpoints_;
  std::deque<std::int64_t> timed_;  ///< steps whose times are not yet known
  std::optional<MetricsFile> metrics_;
  std::optional<EventFile> events_;
  Progress at_ = Progress::initial(config_.train);
  /// Leaving by an error, a rank ends what its device waits for: else whoever waits for the device would hang.
  struct GiveUp {
    Comm& comm;
    int exceptions = std::uncaught_exceptions();
    ~GiveUp() {
      if (std::uncaught_exceptions() > exceptions) comm.give_up();
    }
  } give_up_{comm_};
  Watchdog watchdog_;  // last: it looks at the others
};

}  // namespace

Ending pretrain(Config const& config, Comm& comm, RunRecord& record, RunLog& log) {
  Trainer trainer(config, comm, record, log);
  try {
    return trainer.run();
  } catch (Stopped const&) {
    throw;  // another rank has the error
  } catch (Error const& e) {
    trainer.finish();
    throw Error(e.what() + trainer.where_to_go_on());
  }
}

}  // namespace selenite
