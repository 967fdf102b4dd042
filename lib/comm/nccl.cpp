// The NCCL backend: moves device memory on the streams of the lanes. Control stays with another backend.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <cuda_runtime.h>
#include <exception>
#include <map>
#include <nccl.h>

#include "comm/comm.hpp"
#include "core/cuda.hpp"

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
  void operator()(CUevent_st* event) const { static_cast<void>(cudaEventDestroy(event)); }
  void operator()(std::byte* memory) const { free_cuda(memory); }
};
using Stream = std::unique_ptr<CUstream_st, Destroy>;
using Event = std::unique_ptr<CUevent_st, Destroy>;
using DeviceBytes = std::unique_ptr<std::byte, Destroy>;

Stream make_stream() {
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return Stream(stream);
}
Event make_event() {
  cudaEvent_t event = nullptr;
  CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return Event(event);
}
void record(Event const& event, cudaStream_t stream) { CUDA_CHECK(cudaEventRecord(event.get(), stream)); }
void wait(cudaStream_t stream, Event const& event) { CUDA_CHECK(cudaStreamWaitEvent(stream, event.get(), 0)); }

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

// --- communicators

/// Ranks with a communicator, this one among them. Leaving by an error does not wait for the others.
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
    if (aborted_) return;
    if (std::uncaught_exceptions() > exceptions_) {
      abort();
    } else {
      static_cast<void>(ncclCommFinalize(comm_));
      static_cast<void>(ncclCommDestroy(comm_));
    }
  }
  Team(Team const&) = delete;
  Team& operator=(Team const&) = delete;

  ncclComm_t comm() const { return comm_; }
  std::int64_t size() const { return size_; }
  std::int64_t index() const { return index_; }  ///< of this rank
  /// Its operations, those on the device too, end; it is of no use any more.
  void abort() {
    if (!aborted_.exchange(true)) static_cast<void>(ncclCommAbort(comm_));
  }
  /// Throws Error if it has failed while it worked on its own.
  void expect_working() const {
    ncclResult_t state = ncclSuccess;
    NCCL_CHECK(ncclCommGetAsyncError(comm_, &state));
    validate(state == ncclSuccess || state == ncclInProgress, "NCCL failed in the ", name_, " (",
             ncclGetErrorString(state), "; ", ncclGetLastError(comm_),
             "). Look at the other ranks' messages, and for a node or network fault.");
  }

 private:
  std::string name_;
  std::int64_t size_, index_;
  ncclComm_t comm_ = nullptr;
  std::atomic<bool> aborted_{false};
  int exceptions_ = std::uncaught_exceptions();
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

/// A waiting send holds multiprocessors that compute could have.
constexpr int link_blocks = 4;

/// One direction between this rank and another, on one channel.
class Link {
 public:
  Link(std::unique_ptr<Team> team, Rank peer) : team_(std::move(team)), peer_(peer) {}
  Team& team() { return *team_; }
  Rank peer() const { return peer_; }

  /// Behind what `stream` has; beside what it is given later.
  void send(Tensor const& data, cudaStream_t stream) {
    record(ready_, stream);
    wait(sends_.get(), ready_);
    NCCL_CHECK(ncclSend(data.raw(), bytes(data), ncclUint8, 1, team_->comm(), sends_.get()));
    Event& sent = sent_.try_emplace(data.raw(), nullptr).first->second;
    if (!sent) sent = unused_ ? std::move(unused_) : make_event();
    record(sent, sends_.get());
    record(all_sent_, sends_.get());
  }
  void receive(Tensor const& data, cudaStream_t stream) {
    NCCL_CHECK(ncclRecv(data.raw(), bytes(data), ncclUint8, 0, team_->comm(), stream));
  }
  /// `stream` goes on after the last send from `data`, or, where that is undefined, after all.
  void finish(Tensor const& data, cudaStream_t stream) {
    if (data.defined()) {
      if (auto const found = sent_.find(data.raw()); found != sent_.end()) wait(stream, found->second);
    } else if (!sent_.empty()) {
      wait(stream, all_sent_);
      unused_ = std::move(sent_.begin()->second);  // tied gradients are sent and finished in turn
      sent_.clear();
    }
  }

 private:
  std::unique_ptr<Team> team_;
  Rank peer_;
  Stream sends_ = make_stream();
  Event ready_ = make_event(), all_sent_ = make_event(), unused_;
  std::map<std::byte const*, Event> sent_;  ///< after the last send from there
};

constexpr Channel channels[] = {Channel::forward, Channel::backward, Channel::tied};
constexpr char const* channel_names[] = {"forward", "backward", "tied"};

/// The stage that gets what stage `s` of n sends on the channel: the pipeline is a ring, as chunks go round it.
std::int64_t receiver(Channel channel, std::int64_t s, std::int64_t n) {
  return channel == Channel::forward ? (s + 1) % n : channel == Channel::backward ? (s + n - 1) % n : n - 1 - s;
}
/// Links of a channel are made in rounds, in each of which a rank has one at most: nobody waits in a circle.
constexpr int rounds = 3;
int round_of(Channel channel, std::int64_t s, std::int64_t n) {
  if (channel == Channel::tied) return s == 0 ? 0 : s == n - 1 ? 1 : rounds;
  return n % 2 == 1 && s == n - 1 ? 2 : static_cast<int>(s % 2);
}

// --- groups

constexpr AxisSet replicas{Axis::context, Axis::expert, Axis::data};
/// Those that collectives of a training, its evaluation and the measurement of a machine name.
constexpr AxisSet groups_used[] = {
    {Axis::tensor}, {Axis::context}, replicas, replicas.with(Axis::pipe), {Axis::tensor, Axis::pipe}, AxisSet::all()};

class NcclComm final : public Comm {
 public:
  explicit NcclComm(std::unique_ptr<Comm> control) : control_(std::move(control)) {}

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
  void use(Cuda& cuda) override {
    bool const first = !cuda_;
    cuda_ = &cuda;
    if (first && has_grid_) connect();
  }

  void do_launch(AllReduce const& op) override {
    Team& g = group(op.group);
    NCCL_CHECK(ncclAllReduce(op.data.raw(), op.data.raw(), elements(op.data), reduced_type(op.data.dtype()),
                             op.reduction == Reduction::sum ? ncclSum : ncclMax, g.comm(), cuda_->stream));
    count(op, g);
  }
  void do_launch(AllGather const& op) override {
    Team& g = group(op.group);
    NCCL_CHECK(ncclAllGather(op.input.raw(), op.output.raw(), bytes(op.input), ncclUint8, g.comm(), cuda_->stream));
    count(op, g);
  }
  void do_launch(ReduceScatter const& op) override {
    Team& g = group(op.group);
    NCCL_CHECK(ncclReduceScatter(op.input.raw(), op.output.raw(), elements(op.output), reduced_type(op.input.dtype()),
                                 ncclSum, g.comm(), cuda_->stream));
    count(op, g);
  }
  void do_launch(Broadcast const& op) override {
    Team& g = group(op.group);
    NCCL_CHECK(ncclBroadcast(op.data.raw(), op.data.raw(), bytes(op.data), ncclUint8, static_cast<int>(op.root),
                             g.comm(), cuda_->stream));
    count(op, g);
  }
  void do_launch(RingShift const& op) override {
    Team& g = group(op.group);
    auto const next = static_cast<int>((g.index() + 1) % g.size()),
               before = static_cast<int>((g.index() + g.size() - 1) % g.size());
    NCCL_CHECK(ncclGroupStart());
    ncclResult_t const sent = ncclSend(op.send.raw(), bytes(op.send), ncclUint8, next, g.comm(), cuda_->stream);
    ncclResult_t const received = ncclRecv(op.recv.raw(), bytes(op.recv), ncclUint8, before, g.comm(), cuda_->stream);
    NCCL_CHECK(ncclGroupEnd());
    NCCL_CHECK(sent);
    NCCL_CHECK(received);
    count(op, g);
  }

  void do_launch(Send const& op) override {
    link(out_, op.channel, op.to, "to").send(op.data, cuda_->stream);
    sent_[op.channel] += sent_bytes(op);
  }
  void do_launch(Recv const& op) override { link(in_, op.channel, op.from, "from").receive(op.data, cuda_->stream); }
  void do_finish(Channel channel, Tensor const& data) override {
    expect_working();
    if (auto const& out = out_[static_cast<std::size_t>(channel)]) out->finish(data, cuda_->stream);
  }

  void expect_working() const override {
    if (given_up_) throw Stopped();
    for (auto const& team : teams_) team->expect_working();
  }
  /// Device work of other threads that waits for a peer ends, so that a host that waits for it returns; their next call
  /// throws Stopped.
  void give_up() override {
    control_->give_up();
    if (given_up_.exchange(true)) return;
    for (Team* const team : teams_) team->abort();
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
  [[noreturn]] void abort(int code) override {
    control_->abort(code);
    std::_Exit(code);
  }
  void post_note(Rank to, std::string const& note) override { control_->post_note(to, note); }
  std::optional<std::string> take_note() override { return control_->take_note(); }

 private:
  /// A communicator to make, and what it is for; without members where this rank has no part in it.
  struct Wanted {
    std::string name;
    std::vector<Rank> members;
    AxisSet group;
    std::optional<Channel> channel;
  };
  using Links = std::array<std::unique_ptr<Link>, channel_count>;

  AxisSet significant(AxisSet axes) const {  // without axes of one rank
    AxisSet s = axes;
    for (Axis a : {Axis::tensor, Axis::context, Axis::expert, Axis::data, Axis::pipe})
      if (grid_.size(a) == 1) s = s.without(a);
    return s;
  }
  /// The ranks of the link of this round that this rank has: the sender, then the receiver.
  std::vector<Rank> link_members(Channel channel, int round) const {
    std::vector<Rank> const stages = grid_.group(rank(), {Axis::pipe});
    auto const n = static_cast<std::int64_t>(stages.size());
    for (std::int64_t s = 0; s < n && n > 1; ++s) {
      if (round_of(channel, s, n) != round) continue;
      Rank const from = stages[static_cast<std::size_t>(s)],
                 to = stages[static_cast<std::size_t>(receiver(channel, s, n))];
      if (rank() == from || rank() == to) return {from, to};
    }
    return {};
  }
  /// The same list, but for the members, on every rank.
  std::vector<Wanted> wanted() const {
    std::vector<Wanted> all;
    for (AxisSet const used : groups_used) {
      AxisSet const axes = significant(used);
      bool const known = std::ranges::any_of(all, [&](Wanted const& w) { return w.group == axes; });
      if (axes.empty() || known) continue;
      all.push_back({"group over " + to_string(axes), grid_.group(rank(), axes), axes, {}});
    }
    for (Channel const channel : channels)
      for (int round = 0; round < rounds; ++round)
        all.push_back({concat("messages of the ", channel_names[static_cast<std::size_t>(channel)], " channel"),
                       link_members(channel, round),
                       {},
                       channel});
    return all;
  }
  /// The ids of all that is wanted, each from its first member.
  std::vector<ncclUniqueId> exchange_ids(std::vector<Wanted> const& all) {
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
    std::vector<Wanted> const all = wanted();
    std::vector<ncclUniqueId> const ids = exchange_ids(all);
    DeviceBytes const trial(allocate_cuda(2 * world() * size_of(DType::fp32)));
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].members.empty()) continue;
      auto const index = std::ranges::find(all[i].members, rank()) - all[i].members.begin();
      auto team = std::make_unique<Team>(all[i].name, all[i].members, index, ids[i], all[i].channel ? link_blocks : 0);
      teams_.push_back(team.get());
      if (all[i].channel) {
        Rank const peer = all[i].members[static_cast<std::size_t>(1 - index)];
        auto& place = (index == 0 ? out_ : in_)[static_cast<std::size_t>(*all[i].channel)];
        place = std::make_unique<Link>(std::move(team), peer);
        try_out(*place, index == 0, trial.get());
      } else {
        try_out(*(groups_[all[i].group.bits()] = std::move(team)), trial.get());
      }
      CUDA_CHECK(cudaStreamSynchronize(cuda_->stream));
    }
  }
  void try_out(Team const& g, std::byte* trial) const {
    auto const n = static_cast<std::size_t>(g.size());
    auto* const in = reinterpret_cast<float*>(trial);
    float* const out = in + n;
    NCCL_CHECK(ncclAllReduce(in, out, n, ncclFloat32, ncclSum, g.comm(), cuda_->stream));
    NCCL_CHECK(ncclReduceScatter(in, out, 1, ncclFloat32, ncclSum, g.comm(), cuda_->stream));
    NCCL_CHECK(ncclAllGather(in, out, 1, ncclFloat32, g.comm(), cuda_->stream));
  }
  void try_out(Link& l, bool sends, std::byte* trial) const {
    Tensor const data(trial, DType::fp32, {1});
    if (!sends) return l.receive(data, cuda_->stream);
    l.send(data, cuda_->stream);
    l.finish({}, cuda_->stream);
  }
  void disconnect() {
    teams_.clear();
    groups_.clear();
    for (Links* links : {&out_, &in_})
      for (auto& l : *links) l.reset();
  }

  Team& group(AxisSet axes) {
    if (given_up_) throw Stopped();
    auto const found = groups_.find(significant(axes).bits());
    validate(found != groups_.end(), "There is no NCCL communicator over ", to_string(axes),
             " (it has one rank, or no training uses it). This is a defect of Selenite; please report it.");
    return *found->second;
  }
  Link& link(Links& links, Channel channel, Rank peer, char const* direction) {
    if (given_up_) throw Stopped();
    auto const& found = links[static_cast<std::size_t>(channel)];
    validate(found && found->peer() == peer, "There is no NCCL communicator ", direction, " rank ", peer, " on the ",
             channel_names[static_cast<std::size_t>(channel)],
             " channel (messages go between neighbours of a pipeline, and its ends). This is a defect of Selenite; "
             "please report it.");
    return *found;
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
  std::vector<Team*> teams_;  ///< all of them
};

}  // namespace

std::unique_ptr<Comm> make_nccl_comm(std::unique_ptr<Comm> control) {
  return std::make_unique<NcclComm>(std::move(control));
}

}  // namespace selenite
