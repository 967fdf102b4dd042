// The NCCL backend: moves device memory on the streams of the lanes. Control stays with another backend.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <cuda_runtime.h>
#include <exception>
#include <future>
#include <map>
#include <mutex>
#include <nccl.h>
#include <thread>
#include <utility>

#include "comm/comm.hpp"
#include "comm/flights.hpp"
#include "comm/nccl_groups.hpp"
#include "core/cuda.hpp"
#include "core/cuda_event.hpp"

namespace selenite {
namespace {

void check(ncclResult_t result, char const* expression, int line) {
  validate(
      result == ncclSuccess, "NCCL failed: ", ncclGetErrorString(result), " (", expression, ", nccl.cpp:", line, "; ",
      ncclGetLastError(nullptr),
      "). Run again with NCCL_DEBUG=WARN to see more; look at the other ranks' messages, and for a node or network "
      "fault.");
}
#define NCCL_CHECK(call) check((call), #call, __LINE__)

// --- what is owned of CUDA

struct Destroy {
  void operator()(CUstream_st* stream) const { static_cast<void>(cudaStreamDestroy(stream)); }
};
using Stream = std::unique_ptr<CUstream_st, Destroy>;

Stream make_stream() {
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return Stream(stream);
}

ncclDataType_t reduced_type(DType dtype) {
  switch (dtype) {
    case DType::fp32:
      return ncclFloat32;
    case DType::fp64:
      return ncclFloat64;
    case DType::bf16:
      return ncclBfloat16;
    case DType::fp16:
      return ncclFloat16;
    default:
      throw Error(concat("Tensors of ", name(dtype),
                         " can't be reduced between ranks (only fp32, fp64, bf16 and fp16 can). This is a defect of "
                         "Selenite; please report it."));
  }
}
std::size_t elements(Tensor const& t) { return static_cast<std::size_t>(t.count()); }
/// What is moved only goes as bytes, whatever they mean.
std::size_t bytes(Tensor const& t) { return static_cast<std::size_t>(t.bytes()); }

/// The library that is loaded may be another than the one of the build.
void require_version() {
  constexpr int oldest = 21900;  // ncclMemAlloc, ncclCommRegister
  int version = 0;
  NCCL_CHECK(ncclGetVersion(&version));
  validate(version >= oldest, "NCCL ", version / 10000, ".", version / 100 % 100, ".", version % 100,
           " is too old (2.19 is the oldest that registers memory). Load a newer one: see LD_LIBRARY_PATH.");
}

// --- communicators

/// Ranks with a communicator, this one among them. Unless it was ended it goes by an abort, which waits for nobody.
class Team {
 public:
  /// `most_blocks`: of a kernel; 0: as NCCL likes. Returns when all members have called.
  Team(std::string name, std::vector<Rank> members, std::int64_t index, ncclUniqueId const& id, int most_blocks)
      : name_(std::move(name)), size_(static_cast<std::int64_t>(members.size())), index_(index) {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    if (most_blocks > 0) config.maxCTAs = most_blocks;
    NCCL_CHECK(ncclCommInitRankConfig(&comm_, static_cast<int>(size_), id, static_cast<int>(index_), &config));
  }
  ~Team() {
    if (ncclComm_t const comm = take()) static_cast<void>(ncclCommAbort(comm));
  }
  Team(Team const&) = delete;
  Team& operator=(Team const&) = delete;

  ncclComm_t comm() const { return comm_; }
  std::int64_t size() const { return size_; }
  std::int64_t index() const { return index_; }  ///< of this rank
  /// What lies there is sent from where it is and received where it belongs, if the links can; until withdraw().
  void lend(std::span<std::byte> memory) { NCCL_CHECK(ncclCommRegister(comm_, memory.data(), memory.size(), &lent_)); }
  void withdraw() {
    if (lent_ && !gone_) static_cast<void>(ncclCommDeregister(comm_, lent_));
    lent_ = nullptr;
  }
  /// Its last collective: members on one machine wait for each other here.
  void end() {
    withdraw();
    ncclComm_t const comm = take();
    if (!comm) return;
    static_cast<void>(ncclCommFinalize(comm));
    static_cast<void>(ncclCommDestroy(comm));
  }
  /// The communicator, for its end by whoever asks first; then null.
  ncclComm_t take() { return gone_.exchange(true) ? nullptr : comm_; }
  /// What a call returned, or what became of those that returned: throws Error if it is a failure; Stopped if that is
  /// because this rank has given up.
  void expect_success(ncclResult_t result) const {
    if (result == ncclSuccess || result == ncclInProgress) return;
    if (gone_) throw Stopped();
    throw Error(concat("NCCL failed in the ", name_, " (", ncclGetErrorString(result), "; ", ncclGetLastError(comm_),
                       "). Look at the other ranks' messages, and for a node or network fault; run again with "
                       "NCCL_DEBUG=WARN to see more."));
  }
  /// Throws Error if it has failed while it worked on its own.
  void expect_working() const {
    ncclResult_t state = ncclSuccess;
    if (gone_) return;
    NCCL_CHECK(ncclCommGetAsyncError(comm_, &state));
    expect_success(state);
  }

 private:
  std::string name_;
  std::int64_t size_, index_;
  ncclComm_t comm_ = nullptr;
  void* lent_ = nullptr;
  std::atomic<bool> gone_{false};
};

// --- messages
//
// NCCL's send waits until the receiver is there, it has no tags, and the operations of one communicator come one after
// the other, in the order in which the host gives them, whatever their streams are. Therefore:
// - each direction of a pair of ranks has its own communicator for each channel: on either side it carries sends
//   only, or receives only, so that no send keeps a receive waiting that its peer needs first (as in the wrapped round
//   of an interleaved schedule, or where both ends of the pipeline send before they receive, in sync_tied);
// - sends have a stream of their own, receives are on the stream of the lane that needs what they bring;
// - messages of one sender, receiver and channel must be received in the order sent. Schedules see to that: the forward
//   passes (and so the backward passes) of two neighbours that pass messages come in the same order of chunk and
//   micro-batch, and tied gradients in the order of the parameters.
// A schedule that does not deadlock with its send buffers (validate_schedule) then does not deadlock here: a send waits
// for the one before it from the same rank on the channel and for its receiver, for nothing else.

/// One direction between this rank and another, on one channel.
class Link {
 public:
  Link(std::unique_ptr<Team> team, Rank peer, Channel channel)
      : team_(std::move(team)), peer_(peer), channel_(channel) {}
  Team& team() { return *team_; }
  Rank peer() const { return peer_; }

  /// Behind what `stream` has; beside what it is given later.
  void send(Tensor const& data, cudaStream_t stream, Flights& flights) {
    ready_.record(stream);
    ready_.hold(sends_.get());
    flights.follow({.kind = Call::Kind::send, .channel = channel_, .peer = peer_}, sends_.get(), [&] {
      team_->expect_success(ncclSend(data.raw(), bytes(data), ncclUint8, 1, team_->comm(), sends_.get()));
    });
    auto found = sent_.find(data.raw());
    if (found == sent_.end())
      found = sent_.emplace(data.raw(), unused_ ? std::move(*std::exchange(unused_, std::nullopt)) : CudaEvent()).first;
    found->second.record(sends_.get());
    all_sent_.record(sends_.get());
  }
  void receive(Tensor const& data, cudaStream_t stream, Flights& flights) {
    flights.follow({.kind = Call::Kind::recv, .channel = channel_, .peer = peer_}, stream, [&] {
      team_->expect_success(ncclRecv(data.raw(), bytes(data), ncclUint8, 0, team_->comm(), stream));
    });
  }
  /// `stream` goes on after the last send from `data`, or, where that is undefined, after all.
  void finish(Tensor const& data, cudaStream_t stream) {
    if (data.defined()) {
      if (auto const found = sent_.find(data.raw()); found != sent_.end()) found->second.hold(stream);
    } else if (!sent_.empty()) {
      all_sent_.hold(stream);
      unused_ = std::move(sent_.begin()->second);  // tied gradients are sent and finished in turn
      sent_.clear();
    }
  }

 private:
  std::unique_ptr<Team> team_;
  Rank peer_;
  Channel channel_;
  Stream sends_ = make_stream();
  CudaEvent ready_, all_sent_;
  std::optional<CudaEvent> unused_;
  std::map<std::byte const*, CudaEvent> sent_;  ///< after the last send from there
};

// --- all of them

class NcclComm final : public Comm {
 public:
  explicit NcclComm(std::unique_ptr<Comm> control) : control_(std::move(control)) {}
  /// Leaving by an error does not wait for the others.
  ~NcclComm() override {
    if (std::uncaught_exceptions() > exceptions_) give_up_communicators();
    disconnect();
  }
  NcclComm(NcclComm const&) = delete;
  NcclComm& operator=(NcclComm const&) = delete;

  Rank rank() const override { return control_->rank(); }
  std::int64_t world() const override { return control_->world(); }

  void set_grid(ProcessGrid const& grid) override {
    validate(grid.world() == world(), "The layout has ", grid.world(), " ranks but the job has ", world(), ". Start ",
             grid.world(), " ranks or change the layout.");
    disconnect();
    grid_ = grid, has_grid_ = true;
    if (cuda_) connect();
  }
  /// The first time, by all ranks: makes the communicators.
  void do_use(Cuda& cuda) override {
    bool const first = !cuda_;
    cuda_ = &cuda;
    if (first && has_grid_) connect();
  }

  void do_launch(AllReduce const& op) override {
    make(op, [&](Team const& g) {
      g.expect_success(ncclAllReduce(op.data.raw(), op.data.raw(), elements(op.data), reduced_type(op.data.dtype()),
                                     op.reduction == Reduction::sum ? ncclSum : ncclMax, g.comm(), cuda_->stream));
    });
  }
  void do_launch(AllGather const& op) override {
    make(op, [&](Team const& g) {
      g.expect_success(
          ncclAllGather(op.input.raw(), op.output.raw(), bytes(op.input), ncclUint8, g.comm(), cuda_->stream));
    });
  }
  void do_launch(ReduceScatter const& op) override {
    make(op, [&](Team const& g) {
      g.expect_success(ncclReduceScatter(op.input.raw(), op.output.raw(), elements(op.output),
                                         reduced_type(op.input.dtype()), ncclSum, g.comm(), cuda_->stream));
    });
  }
  void do_launch(Broadcast const& op) override {
    make(op, [&](Team const& g) {
      g.expect_success(ncclBroadcast(op.data.raw(), op.data.raw(), bytes(op.data), ncclUint8, static_cast<int>(op.root),
                                     g.comm(), cuda_->stream));
    });
  }
  void do_launch(RingShift const& op) override {
    make(op, [&](Team const& g) { shift(op, g); });
  }
  void shift(RingShift const& op, Team const& g) {
    auto const next = static_cast<int>((g.index() + 1) % g.size()),
               before = static_cast<int>((g.index() + g.size() - 1) % g.size());
    g.expect_success(ncclGroupStart());
    ncclResult_t const sent = ncclSend(op.send.raw(), bytes(op.send), ncclUint8, next, g.comm(), cuda_->stream);
    ncclResult_t const received = ncclRecv(op.recv.raw(), bytes(op.recv), ncclUint8, before, g.comm(), cuda_->stream);
    g.expect_success(ncclGroupEnd());
    g.expect_success(sent);
    g.expect_success(received);
  }

  void do_launch(Send const& op) override {
    link(out_, op.channel, op.to, "to").send(op.data, cuda_->stream, flights_);
    sent_[op.channel] += sent_bytes(op);
  }
  void do_launch(Recv const& op) override {
    link(in_, op.channel, op.from, "from").receive(op.data, cuda_->stream, flights_);
  }
  void do_finish(Channel channel, Tensor const& data) override {
    expect_working();
    if (auto const& out = out_[static_cast<std::size_t>(channel)]) out->finish(data, cuda_->stream);
  }

  void expect_working() const override {
    if (given_up_) throw Stopped();
    std::lock_guard const lock(teams_mutex_);
    for (auto const& team : teams_) team->expect_working();
  }
  Flight in_flight() override { return flights_.look(); }
  /// Device work of other threads that waits for a peer ends, so that a host that waits for it returns; their next call
  /// throws Stopped.
  void give_up() override {
    control_->give_up();
    give_up_communicators();
  }
  /// All at once, and not for ever: an abort waits for what the communicator has on the device, which may stand behind
  /// what another one has there; some wait for their peers' aborts, too.
  void give_up_communicators() {
    if (given_up_.exchange(true)) return;
    std::vector<std::future<void>> aborts;
    {
      std::lock_guard const lock(teams_mutex_);
      for (Team* const team : teams_)
        if (ncclComm_t const comm = team->take()) {
          std::packaged_task<void()> abort([comm] { static_cast<void>(ncclCommAbort(comm)); });
          aborts.push_back(abort.get_future());
          std::thread(std::move(abort)).detach();
        }
    }
    auto const until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
    for (std::future<void> const& abort : aborts) abort.wait_until(until);
  }
  void lend_memory(std::byte* base, std::int64_t bytes) override {
    lent_ = {base, static_cast<std::size_t>(bytes)};
    for (Team* const team : teams_) team->lend(lent_);
  }
  void withdraw_memory() override {
    for (Team* const team : teams_) team->withdraw();
    lent_ = {};
  }
  Memory allocate_memory(std::int64_t bytes) override {
    if (teams_.empty()) return Comm::allocate_memory(bytes);
    void* memory = nullptr;
    NCCL_CHECK(ncclMemAlloc(&memory, static_cast<std::size_t>(bytes)));
    Memory taken(static_cast<std::byte*>(memory), bytes, [](std::byte* m) { static_cast<void>(ncclMemFree(m)); });
    clear_cuda(taken.base(), bytes);
    return taken;
  }

  void do_all_reduce(std::span<double> values, Reduction reduction) override {
    expect_working();
    control_->all_reduce(values, reduction);
  }
  void do_broadcast(std::vector<std::byte>& values, Rank root) override {
    expect_working();
    control_->broadcast(values, root);
  }
  std::vector<std::string> do_all_gather(std::string const& text) override {
    expect_working();
    return control_->all_gather(text);
  }
  void do_barrier() override {
    expect_working();
    control_->barrier();
  }
  /// First the work on the device ends that waits for others, if that can be done soon; then the job.
  [[noreturn]] void abort(int code) override {
    give_up_communicators();
    control_->abort(code);
    std::_Exit(code);
  }
  void post_note(Rank to, std::string const& note) override { control_->post_note(to, note); }
  std::optional<std::string> take_note() override { return control_->take_note(); }

 private:
  using Links = std::array<std::unique_ptr<Link>, channel_count>;

  /// The ids of all that is wanted, each from its first member.
  std::vector<ncclUniqueId> exchange_ids(std::vector<NcclGroup> const& all) {
    constexpr std::size_t size = sizeof(ncclUniqueId);
    std::vector<ncclUniqueId> ids(all.size());
    for (std::size_t i = 0; i < all.size(); ++i)
      if (!all[i].members.empty() && all[i].members.front() == rank()) NCCL_CHECK(ncclGetUniqueId(&ids[i]));
    auto const texts = control_->all_gather({reinterpret_cast<char const*>(ids.data()), ids.size() * size});
    for (std::size_t i = 0; i < all.size(); ++i)
      if (!all[i].members.empty())
        std::memcpy(&ids[i], texts[static_cast<std::size_t>(*all[i].members.front())].data() + i * size, size);
    return ids;
  }

  /// In one order on all ranks: who waits for a communicator waits for those that come before it only. Each is used at
  /// once, because its connections are made at the first use, which waits for the others as well.
  void connect() {
    require_version();
    std::vector<NcclGroup> const all = nccl_groups(grid_, rank());
    std::vector<ncclUniqueId> const ids = exchange_ids(all);
    Memory const trial(2 * world() * size_of(DType::fp32), Memory::Kind::cuda);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].members.empty()) continue;
      auto const index = std::ranges::find(all[i].members, rank()) - all[i].members.begin();
      auto team =
          std::make_unique<Team>(all[i].name, all[i].members, index, ids[i], all[i].channel ? nccl_link_blocks : 0);
      if (!lent_.empty()) team->lend(lent_);
      {
        std::lock_guard const lock(teams_mutex_);
        teams_.push_back(team.get());
      }
      if (all[i].channel) {
        Rank const peer = all[i].members[static_cast<std::size_t>(1 - index)];
        auto& place = (index == 0 ? out_ : in_)[static_cast<std::size_t>(*all[i].channel)];
        place = std::make_unique<Link>(std::move(team), peer, *all[i].channel);
        try_out(*place, index == 0, trial.base());
      } else {
        try_out(*(groups_[all[i].group.bits()] = std::move(team)), trial.base());
      }
      CUDA_CHECK(cudaStreamSynchronize(cuda_->stream));
    }
  }
  void try_out(Team const& g, std::byte* trial) const {
    auto const n = static_cast<std::size_t>(g.size());
    auto* const in = reinterpret_cast<float*>(trial);
    float* const out = in + n;
    g.expect_success(ncclAllReduce(in, out, n, ncclFloat32, ncclSum, g.comm(), cuda_->stream));
    g.expect_success(ncclReduceScatter(in, out, 1, ncclFloat32, ncclSum, g.comm(), cuda_->stream));
    g.expect_success(ncclAllGather(in, out, 1, ncclFloat32, g.comm(), cuda_->stream));
  }
  void try_out(Link& l, bool sends, std::byte* trial) {
    Tensor const data(trial, DType::fp32, {1});
    if (!sends) return l.receive(data, cuda_->stream, flights_);
    l.send(data, cuda_->stream, flights_);
    l.finish({}, cuda_->stream);
  }
  /// By all ranks in the order in which the communicators were made, so that here, too, nobody waits in a circle: a
  /// pipeline's neighbours have each other's incoming link as their outgoing one.
  void disconnect() {
    std::vector<Team*> teams;
    {
      std::lock_guard const lock(teams_mutex_);
      teams.swap(teams_);
    }
    for (Team* const team : teams) team->end();
    groups_.clear();
    for (Links* links : {&out_, &in_})
      for (auto& l : *links) l.reset();
  }

  Team& group(AxisSet axes) {
    if (given_up_) throw Stopped();
    auto const found = groups_.find(significant(grid_, axes).bits());
    validate(found != groups_.end(), "There is no NCCL communicator over ", to_string(axes),
             " (it has one rank, or no training uses it). This is a defect of Selenite; please report it.");
    return *found->second;
  }
  Link& link(Links& links, Channel channel, Rank peer, char const* direction) {
    if (given_up_) throw Stopped();
    auto const& found = links[static_cast<std::size_t>(channel)];
    validate(found && found->peer() == peer, "There is no NCCL communicator ", direction, " rank ", peer, " on the ",
             name(channel),
             " channel (messages go between neighbours of a pipeline, and its ends). This is a defect of Selenite; "
             "please report it.");
    return *found;
  }
  template <Collective Op, class Body>
  void make(Op const& op, Body&& body) {
    Team& g = group(op.group);
    flights_.follow(call_of(op), cuda_->stream, [&] { body(g); });
    count(op, g);
  }
  /// NCCL's own algorithms are free to send other amounts: what is counted is what the plan counts.
  template <Collective Op>
  void count(Op const& op, Team const& g) {
    sent_[op.group] += sent_bytes(op, g.size(), g.index());
  }

  std::unique_ptr<Comm> control_;
  Cuda* cuda_ = nullptr;
  ProcessGrid grid_;
  bool has_grid_ = false;
  std::atomic<bool> given_up_{false};
  std::map<unsigned, std::unique_ptr<Team>> groups_;  ///< by the bits of their axes longer than one
  Links out_, in_;
  mutable std::mutex teams_mutex_;  ///< of the list: another thread asks them whether they work
  std::vector<Team*> teams_;        ///< all of them
  std::span<std::byte> lent_;
  Flights flights_;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace

std::unique_ptr<Comm> make_nccl_comm(std::unique_ptr<Comm> control) {
  return std::make_unique<NcclComm>(std::move(control));
}

}  // namespace selenite
