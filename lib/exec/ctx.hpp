#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "comm/comm.hpp"
#include "core/arena.hpp"
#include "core/cpu.hpp"
#include "core/kernel.hpp"
#include "core/machine.hpp"
#include "exec/comm_lane.hpp"
#include "exec/cuda_lanes.hpp"
#include "exec/device_graphs.hpp"
#include "exec/exposed.hpp"
#include "exec/tally.hpp"
#include "exec/timeline.hpp"

namespace selenite {

/// A moment on a lane that another lane can wait for.
struct Event {
  double time = 0;           ///< priced
  std::uint64_t number = 0;  ///< of the device, or of work on the comm lane's thread; else work is done at return
};

/// The one switch between running and predicting. Layer code is written over it: `ctx(op)` launches the operation, or
/// prices its cost on a machine; memory comes from arenas that may have no base. Nothing else in a layer knows the
/// difference.
class Ctx {
 public:
  /// What both kinds share. `save` is the slot that forward fills; `scratch` holds temporaries.
  struct Place {
    ProcessGrid grid;
    Rank rank;
    Arena* save = nullptr;
    Arena* scratch = nullptr;
    std::int64_t workspace_budget = 0;
    bool blocking_sends = false;  ///< priced: messages to other stages hold up their sender
    bool cuda_graphs = false;     ///< on a device what is repeated() is captured
  };
  /// Runs. `comm` may be null for one rank; `comm_lane` for none of its own: then nothing is overlapped.
  Ctx(Place place, Cpu& cpu, Comm* comm, CommLane* comm_lane = nullptr)
      : place_(std::move(place)), cpu_(&cpu), comm_(comm), comm_lane_(comm_lane) {}
  /// Runs on a CUDA device, whose memory all tensors lie in. Calls return before the device is done.
  Ctx(Place place, CudaLanes& cuda, Comm* comm) : place_(std::move(place)), cuda_(&cuda), comm_(comm) {
    if (comm_) comm_->use(cuda.cuda());
    if (place_.cuda_graphs) graphs_ = std::make_unique<DeviceGraphs>();
  }
  Ctx(Place place, Executor& executor, Comm* comm, CommLane* comm_lane = nullptr)
      : Ctx(executor.cuda ? Ctx(std::move(place), *executor.cuda, comm)
                          : Ctx(std::move(place), executor.cpu, comm, comm_lane)) {}
  /// Prices. With a null machine it only sizes memory and counts work.
  Ctx(Place place, Machine const* machine) : place_(std::move(place)), machine_(machine) {}
  /// Runs nothing, but prepares the device for launches of the same shapes (see prepare() in core/kernel.hpp).
  Ctx(Place place, Cuda& prepared) : place_(std::move(place)), prepared_(&prepared) {}

  template <Kernel Op>
  void operator()(Op const& op) {
    EXPECTS(!comm_lane_ || lane_ == Lane::compute);
    ScopedMark const mark(*place_.scratch);
    std::int64_t const bytes = workspace(op, place_.workspace_budget);
    Tensor const work = place_.scratch->allocate(DType::uint8, {bytes});
    Cost const c = cost(op);
    std::span<std::byte> const memory{work.raw(), static_cast<std::size_t>(bytes)};
    if (prepared_) {
      prepared_->workspace = memory;
      prepare(*prepared_, op);
    }
    if (!running()) return price(c);
    auto const start = now();
    if (cuda_) {
      cuda_->cuda().workspace = memory;
      return on_device(c, [&] { launch(cuda_->cuda(), op); });
    }
    cpu_->workspace = memory;
    launch(*cpu_, op);
    ran(c, now() - start);
  }
  /// A collective over a group of one rank is nothing at all.
  template <Collective Op>
  void operator()(Op const& op) {
    std::int64_t const n = grid().size(op.group);
    if (n == 1) return;
    tally_.sent[op.group] += sent_bytes(op, n, grid().index_in_group(rank(), op.group));
    if (!comm_lane_ || op.group == AxisSet{Axis::tensor}) return communicate(op);
    count(cost(op), 0);
    posted_ = comm_lane_->post([comm = comm_, op, timeline = timeline_] {
      double const start = now();
      comm->launch(op);
      if (timeline) timeline->add(Lane::comm, cost(op), Cause::communication, start, now());
    });
    if (lane_ != Lane::comm) wait({0, posted_});
  }
  template <PointToPoint Op>
  void operator()(Op const& op) {
    tally_.sent[op.channel] += sent_bytes(op);
    if (running()) return communicate(op);
    price_message(cost(op), op.channel);
  }
  /// What another program is known to do here and this one does not (OtherProgram): priced, never run.
  void other_program(Cost const& cost) {
    if (machine_) price(cost);
  }
  /// What was sent on the channel, or of that only what was sent from `data`, may be changed after this.
  void finish(Channel channel, Tensor const& data = {});

  /// Work that `body` gives to this context goes on `lane`, behind what the current lane has so far.
  template <class Body>
  Event on(Lane lane, Body&& body) {
    return on(lane, lane != lane_ ? now_on_lane() : Event{clocks_[index(lane_)]}, body);
  }
  /// The same behind `after` alone.
  template <class Body>
  Event on(Lane lane, Event after, Body&& body) {
    refuse_capture();
    Lane const before = lane_;
    advance(lane, after);
    go_to(lane, after);
    body();
    Event const done{clocks_[index(lane)], cuda_ ? cuda_->record() : lane == Lane::comm ? posted_ : 0};
    if (lane == Lane::comm) posted_ = done.number;
    return_to(before);
    return done;
  }
  /// The current lane goes on after `event`.
  void wait(Event event);
  /// The current lane goes on after all that the comm lane has so far.
  void wait_for_comm() { wait({clocks_[index(Lane::comm)], posted_}); }

  /// Runs `body`, which gives the compute lane, and it alone, the same launches wherever `key` is the same, and on the
  /// host changes this context, `state` and nothing else. With cuda_graphs it is captured the second time and from then
  /// on launched as a whole, and what it leaves on the host is put there; but one by one while the clock runs, whose
  /// events are between the launches. What can't be captured is launched one by one for good.
  template <class State, class Body>
  void repeated(LaunchKey key, State& state, Body&& body) {
    if (!graphs_) return body();
    repeat(std::move(key), body, [&state] { return [&state, left = state] { state = left; }; });
  }
  /// Of what is repeated(); null: nothing is captured.
  DeviceGraphs* graphs() { return graphs_.get(); }

  /// A temporary; release it by a ScopedMark on scratch().
  Tensor temporary(DType dtype, Shape shape) { return place_.scratch->allocate(dtype, shape); }
  /// What forward keeps for backward.
  Tensor save(DType dtype, Shape shape) { return place_.save->allocate(dtype, shape); }
  /// An output gradient that backward_input leaves for backward_weight; scratch while the two run in turn.
  Tensor keep(DType dtype, Shape shape) { return kept().allocate(dtype, shape); }
  Arena& kept() { return kept_ ? *kept_ : *place_.scratch; }
  Arena& scratch() { return *place_.scratch; }
  void set_save(Arena& slot) { place_.save = &slot; }
  /// save() takes from another arena as long as this lives: what recomputation makes again goes into scratch.
  class SavingTo {
   public:
    SavingTo(Ctx& ctx, Arena& arena) : ctx_(ctx), before_(ctx.place_.save) { ctx.place_.save = &arena; }
    ~SavingTo() { ctx_.place_.save = before_; }
    SavingTo(SavingTo const&) = delete;
    SavingTo& operator=(SavingTo const&) = delete;

   private:
    Ctx& ctx_;
    Arena* before_;
  };
  /// Where keep() takes from while backward's two halves run apart; null: scratch.
  void set_kept(Arena* slot) { kept_ = slot; }

  /// A value that the host needs: read from `tensor` (fp32 or fp64 [1]), or `assumed` where nothing runs.
  double fetch(Tensor const& tensor, double assumed, std::int64_t element = 0) const;
  /// Sets a value of a small tensor (fp32 or fp64).
  void put(Tensor const& tensor, std::int64_t element, double value) const;
  /// Brings what the host has written (pinned memory, if there is a device) to where the work is; nothing where that is
  /// the same memory. The host may write there again after `wait_on_host` of a later event.
  void upload(Tensor const& host, Tensor const& to) const;
  /// The current lane's stream of a CUDA device; null where there is none.
  CUstream_st* stream() const { return cuda_ ? cuda_->cuda().stream : nullptr; }
  /// A moment of the current lane, for a wait.
  Event now_on_lane() {
    refuse_capture();
    return {clocks_[index(lane_)], cuda_ ? cuda_->record() : 0};
  }
  void wait_on_host(Event event) const;
  /// Returns when everything given to the current lane is done.
  void synchronize() const;

  /// Priced seconds of the compute lane so far: what others do beside it is hidden.
  double elapsed() const { return clocks_[index(Lane::compute)]; }
  /// What they went to; the sum is elapsed().
  Exposed const& exposed() const { return exposed_; }
  /// Seconds that the latest priced Send of the channel is on its way. It leaves the lane free (but blocking sends);
  /// the played schedule knows when a neighbour's message comes, so a Recv takes no time here but on the tied channel,
  /// whose two ends exchange.
  double message(Channel channel) const { return messages_[static_cast<std::size_t>(channel)]; }
  bool running() const { return cpu_ != nullptr || cuda_ != nullptr; }
  ProcessGrid const& grid() const { return place_.grid; }
  Rank rank() const { return place_.rank; }
  Tally& tally() { return tally_; }
  /// The time of everything in the optimizer counts as such, not by its kind.
  void set_optimizer_phase(bool on) { optimizer_phase_ = on; }
  /// What is made again for backward counts as hardware FLOPs only.
  void set_recomputing(bool on) { recomputing_ = on; }
  /// Work is recorded there from now on; null: nowhere.
  void set_timeline(Timeline* timeline) { timeline_ = timeline; }
  /// A span of the timeline from now on, which holds others. On a device: when it gets there.
  void open_span(std::string name, std::string_view category);
  void close_span();
  /// The time of what comes is taken, by cause. Without a device it always is: each call ends a stretch in the tally.
  /// On one, events are put between the work, which takes some time itself; what it took is known once the device is
  /// done.
  void start_timing();
  void stop_timing();
  /// Seconds by cause of the oldest stretch that is over and done; never waits.
  std::optional<CauseSeconds> take_times();
  /// The clock of running work, in seconds.
  static double now() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  static std::size_t index(Lane lane) { return static_cast<std::size_t>(lane); }
  void advance(Lane lane, Event event) {
    clocks_[index(lane)] = event.time > clocks_[index(lane)] ? event.time : clocks_[index(lane)];
  }
  template <class Op>
  void communicate(Op const& op) {
    Cost const c = cost(op);
    if (!running()) return price(c);
    if (cuda_) {
      refuse_capture();
      return on_device(c, [&] { comm_->launch(op); });
    }
    auto const start = now();
    comm_->launch(op);
    ran(c, now() - start);
  }
  /// The device works on beside the host: its clock takes the time.
  template <class Body>
  void on_device(Cost const& c, Body&& body) {
    begin_on_device(c);
    body();
    end_on_device(c);
    count(c, 0);
  }
  template <class Body>
  void wait_on_device(Body&& body) {
    refuse_capture();
    cuda_->clock().begin(lane_, Cause::communication, cuda_->cuda().stream);
    body();
    cuda_->clock().end(lane_, "wait", {}, cuda_->cuda().stream);
  }
  using Leave = std::function<void()>;
  void repeat(LaunchKey key, std::function<void()> const& body, std::function<Leave()> const& state);
  void capture(DeviceGraphs::Entry& entry, std::function<void()> const& body, std::function<Leave()> const& state);
  void replay(DeviceGraphs::Captured const& captured);
  /// What only a host can do, or another lane, is no part of a graph.
  void refuse_capture() const {
    validate(!capturing_,
             "A pass that is captured asks for other lanes or ranks (it may not). This is a defect of "
             "Selenite; please report it, and leave run.cuda_graphs out.");
  }
  void begin_on_device(Cost const& cost);
  void end_on_device(Cost const& cost);
  void go_to(Lane lane, Event after);
  void return_to(Lane lane);
  void price(Cost const& cost);
  double slowed(double seconds) const;
  void price_message(Cost const& cost, Channel channel);
  void expose_wait(double from, double to);
  void count(Cost const& cost, double seconds);
  void record(Cost const& cost, double seconds);
  void ran(Cost const& cost, double seconds) { count(cost, seconds), record(cost, seconds); }
  void waited(double start);

  Place place_;
  Cpu* cpu_ = nullptr;
  CudaLanes* cuda_ = nullptr;
  std::unique_ptr<DeviceGraphs> graphs_;
  bool capturing_ = false;
  Comm* comm_ = nullptr;
  CommLane* comm_lane_ = nullptr;
  std::uint64_t posted_ = 0;  ///< the last work given to it
  Machine const* machine_ = nullptr;
  Cuda* prepared_ = nullptr;
  Arena* kept_ = nullptr;
  Lane lane_ = Lane::compute;
  std::array<double, lane_count> clocks_{};
  /// Priced work that goes beside the compute lane.
  struct Beside {
    double start, end;
    Cause cause;
    AxisSet group;
  };
  std::vector<Beside> beside_;  ///< in order; what the compute lane has waited past is left out
  Exposed exposed_;
  std::array<double, channel_count> messages_{};
  Tally tally_;
  Timeline* timeline_ = nullptr;
  std::vector<TimelineSpan> open_;  ///< without a device
  CauseSeconds at_start_{};         ///< of the stretch under way, likewise
  std::optional<CauseSeconds> stretch_;
  bool optimizer_phase_ = false, recomputing_ = false;
};

}  // namespace selenite
