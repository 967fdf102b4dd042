#include "tests/shim/nccl.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "core/dtype.hpp"
#include "core/error.hpp"

namespace selenite::shim {

std::string to_string(NcclCall const& call) {
  constexpr char const* kinds[] = {"all-reduce", "reduce-scatter", "all-gather", "broadcast", "send", "recv"};
  std::string const type = call.type == ncclUint8     ? "bytes"
                           : call.type == ncclFloat16 ? "fp16"
                           : call.type == ncclFloat32 ? "fp32"
                           : call.type == ncclFloat64 ? "fp64"
                                                      : "bf16";
  std::string text = concat(kinds[static_cast<int>(call.kind)], " of ", call.count, " ", type);
  if (call.op == ncclMax) text += ", the largest";
  if (call.kind == NcclCall::Kind::broadcast) text += concat(" from ", call.peer);
  if (call.kind == NcclCall::Kind::send) text += concat(" to ", call.peer);
  if (call.kind == NcclCall::Kind::recv) text += concat(" from ", call.peer);
  return text;
}

std::int64_t size_of(ncclDataType_t type) {
  return type == ncclUint8 ? 1 : type == ncclFloat64 ? 8 : type == ncclFloat32 ? 4 : 2;
}

namespace {

std::atomic<double> patience{60};
thread_local std::string last_error;

ncclResult_t refuse(ncclResult_t result, std::string const& reason) {
  last_error = reason;
  return result;
}

// --- what is remembered

std::mutex logs_mutex;
std::vector<std::shared_ptr<NcclLog>> logs;

NcclLog& log_of_thread() {
  thread_local std::shared_ptr<NcclLog> const log = [] {
    auto made = std::make_shared<NcclLog>();
    remember_steps(&made->steps);
    std::lock_guard const lock(logs_mutex);
    logs.push_back(made);
    return made;
  }();
  return *log;
}

// --- reductions, in rank order in fp32 (fp64 for fp64)

template <class T>
void reduce_as(std::vector<void const*> const& parts, std::size_t first, std::size_t count, int op, std::byte* out) {
  using Wide = std::conditional_t<sizeof(T) == sizeof(double), double, float>;
  for (std::size_t i = 0; i < count; ++i) {
    auto sum = static_cast<Wide>(static_cast<T const*>(parts[0])[first + i]);
    for (std::size_t r = 1; r < parts.size(); ++r) {
      auto const other = static_cast<Wide>(static_cast<T const*>(parts[r])[first + i]);
      sum = op == ncclSum ? sum + other : std::max(sum, other);
    }
    reinterpret_cast<T*>(out)[i] = T(sum);
  }
}
std::vector<std::byte> reduced(NcclCall const& call, std::vector<void const*> const& parts, std::size_t first) {
  std::vector<std::byte> out(call.count * static_cast<std::size_t>(size_of(call.type)));
  if (call.type == ncclFloat32) reduce_as<float>(parts, first, call.count, call.op, out.data());
  if (call.type == ncclFloat64) reduce_as<double>(parts, first, call.count, call.op, out.data());
  if (call.type == ncclFloat16) reduce_as<fp16>(parts, first, call.count, call.op, out.data());
  if (call.type == ncclBfloat16) reduce_as<bf16>(parts, first, call.count, call.op, out.data());
  return out;
}

/// A communicator, shared by its members.
class Meeting {
 public:
  Meeting(int number, int ranks)
      : number_(number), posts_(static_cast<std::size_t>(ranks)), joined_(static_cast<std::size_t>(ranks)) {}
  int number() const { return number_; }
  int ranks() const { return static_cast<int>(posts_.size()); }

  ncclResult_t join(int index) {
    std::unique_lock lock(mutex_);
    if (joined_[static_cast<std::size_t>(index)])
      return refuse(ncclInvalidUsage, concat("rank ", index, " of a communicator comes twice"));
    joined_[static_cast<std::size_t>(index)] = true;
    changed_.notify_all();
    return wait(
        lock, [&] { return std::ranges::find(joined_, false) == joined_.end(); },
        [&] { return concat("rank ", index, " waits in ncclCommInitRankConfig for others"); });
  }

  /// The last who comes does it for all.
  ncclResult_t collective(NcclCall const& call, void const* from, void* to) {
    std::unique_lock lock(mutex_);
    if (!error_.empty()) return refuse(ncclRemoteError, error_);
    for (Post const& p : posts_)
      if (p.here && !p.call.matches(call))
        return fail(concat("members of one communicator differ: rank ", p.call.index, " makes ", to_string(p.call),
                           " where rank ", call.index, " makes ", to_string(call)));
    posts_[static_cast<std::size_t>(call.index)] = {true, call, from, to};
    if (++arrived_ == ranks()) {
      perform();
      for (Post& p : posts_) p.here = false;
      arrived_ = 0, ++generation_;
      changed_.notify_all();
      return ncclSuccess;
    }
    std::uint64_t const mine = generation_;
    return wait(
        lock, [&] { return generation_ != mine; }, [&] { return late(); });
  }

  void put(NcclCall const& call, void const* from) {
    auto const* const begin = static_cast<std::byte const*>(from);
    std::lock_guard const lock(mutex_);
    mail_[{call.index, call.peer}].push_back({call, {begin, begin + bytes(call)}});
    changed_.notify_all();
  }
  ncclResult_t take(NcclCall const& call, void* to) {
    std::unique_lock lock(mutex_);
    auto& messages = mail_[{call.peer, call.index}];
    auto const result = wait(
        lock, [&] { return !messages.empty(); },
        [&] { return concat("rank ", call.index, " waits in ", to_string(call)); });
    if (result != ncclSuccess) return result;
    Message const& message = messages.front();
    if (message.call.count != call.count || message.call.type != call.type)
      return fail(concat("a ", to_string(message.call), " meets a ", to_string(call)));
    std::ranges::copy(message.bytes, static_cast<std::byte*>(to));
    messages.pop_front();
    return ncclSuccess;
  }

  /// "" once all members are here, as NCCL has it on one machine, or one has aborted.
  std::string leave(int index) {
    std::unique_lock lock(mutex_);
    ++left_;
    changed_.notify_all();
    bool const all = changed_.wait_for(lock, std::chrono::duration<double>(patience.load()),
                                       [&] { return left_ == ranks() || !error_.empty(); });
    return all ? "" : concat("rank ", index, " of ", ranks(), " waits in vain in ncclCommDestroy; ");
  }
  void abort(int index) {
    std::lock_guard const lock(mutex_);
    if (error_.empty()) error_ = concat("rank ", index, " of the communicator has aborted");
    changed_.notify_all();
  }
  ncclResult_t state() {
    std::lock_guard const lock(mutex_);
    return error_.empty() ? ncclSuccess : refuse(ncclRemoteError, error_);
  }

 private:
  struct Post {
    bool here = false;
    NcclCall call;
    void const* from = nullptr;
    void* to = nullptr;
  };
  struct Message {
    NcclCall call;
    std::vector<std::byte> bytes;
  };
  static std::size_t bytes(NcclCall const& call) { return call.count * static_cast<std::size_t>(size_of(call.type)); }

  ncclResult_t fail(std::string const& reason) {
    if (error_.empty()) error_ = reason;
    changed_.notify_all();
    return refuse(ncclInvalidUsage, error_);
  }
  template <class Ready, class Text>
  ncclResult_t wait(std::unique_lock<std::mutex>& lock, Ready ready, Text text) {
    bool const came = changed_.wait_for(lock, std::chrono::duration<double>(patience.load()),
                                        [&] { return ready() || !error_.empty(); });
    if (ready()) return ncclSuccess;
    return came ? refuse(ncclRemoteError, error_) : fail("nobody comes: " + text());
  }
  /// Who is in a collective, and who isn't.
  std::string late() const {
    std::string here, missing;
    for (std::size_t r = 0; r < posts_.size(); ++r)
      if (posts_[r].here)
        here += concat(here.empty() ? "" : ", ", "rank ", r, " waits in ", to_string(posts_[r].call));
      else
        missing += concat(missing.empty() ? "" : ", ", "rank ", r);
    return here + " for " + missing;
  }

  void perform() {
    NcclCall const& call = posts_[0].call;
    std::size_t const size = bytes(call);
    std::vector<void const*> parts;
    for (Post const& p : posts_) parts.push_back(p.from);
    std::vector<std::byte> all;
    auto const append = [&](void const* from) {
      auto const* const begin = static_cast<std::byte const*>(from);
      all.insert(all.end(), begin, begin + size);
    };
    if (call.kind == NcclCall::Kind::reduce_scatter) {
      for (std::size_t r = 0; r < parts.size(); ++r) append(reduced(call, parts, r * call.count).data());
      for (std::size_t r = 0; r < parts.size(); ++r) std::copy_n(all.data() + r * size, size, out(r));
      return;
    }
    if (call.kind == NcclCall::Kind::all_reduce) all = reduced(call, parts, 0);
    if (call.kind == NcclCall::Kind::broadcast) append(parts[static_cast<std::size_t>(call.peer)]);
    if (call.kind == NcclCall::Kind::all_gather)
      for (void const* part : parts) append(part);
    for (std::size_t r = 0; r < parts.size(); ++r) std::ranges::copy(all, out(r));
  }
  std::byte* out(std::size_t r) const { return static_cast<std::byte*>(posts_[r].to); }

  int number_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string error_;  ///< once it is set, all calls fail
  std::vector<Post> posts_;
  std::vector<bool> joined_;
  int arrived_ = 0, left_ = 0;
  std::uint64_t generation_ = 0;
  std::map<std::pair<int, int>, std::deque<Message>> mail_;  ///< by sender and receiver
};

std::mutex meetings_mutex;
std::map<std::uint64_t, std::weak_ptr<Meeting>> meetings;  ///< by id

// --- groups of calls

struct Pending {
  std::shared_ptr<Meeting> meeting;
  NcclCall call;
  void const* from;
  void* to;
};
thread_local int group_depth = 0;
thread_local std::vector<Pending> grouped;

/// One step of its stream: sends do not wait for what is received beside them.
ncclResult_t run(std::vector<Pending> const& calls) {
  if (calls.empty()) return ncclSuccess;
  NcclLog& log = log_of_thread();
  remember({.kind = Step::Kind::transfer,
            .stream = calls.front().call.stream,
            .first = log.calls.size(),
            .count = calls.size()});
  for (Pending const& p : calls) log.calls.push_back(p.call);
  for (Pending const& p : calls)
    if (p.call.kind == NcclCall::Kind::send) p.meeting->put(p.call, p.from);
  for (Pending const& p : calls) {
    if (p.call.kind == NcclCall::Kind::send) continue;
    auto const result = p.call.kind == NcclCall::Kind::recv ? p.meeting->take(p.call, p.to)
                                                            : p.meeting->collective(p.call, p.from, p.to);
    if (result != ncclSuccess) return result;
  }
  return ncclSuccess;
}

std::atomic<int> failing_ranks{0};

std::mutex aborts_mutex;
std::condition_variable aborts_changed;
int aborts_together = 0, aborts = 0;

// --- memory: where it is registered, and with whom

struct Region {
  ncclComm_t comm;
  std::byte const* begin;
  std::size_t size;
};
std::mutex memory_mutex;
std::list<Region> regions;
NcclMemory memory_seen;

template <class Concerns>
void expect_unregistered(Concerns concerns, char const* what) {
  std::lock_guard const lock(memory_mutex);
  for (auto r = regions.begin(); r != regions.end();)
    if (concerns(*r))
      memory_seen.misuse += concat(what, " goes with ", r->size, " bytes registered; "), r = regions.erase(r);
    else
      ++r;
}

}  // namespace

void plant_failure(int ranks) { failing_ranks = ranks; }
void plant_aborts_that_wait(int count) {
  std::lock_guard const lock(aborts_mutex);
  aborts_together = count, aborts = 0;
}

NcclMemory take_nccl_memory() {
  std::lock_guard const lock(memory_mutex);
  return std::exchange(memory_seen, {});
}

std::vector<NcclLog> take_nccl_logs() {
  std::lock_guard const lock(logs_mutex);
  std::vector<NcclLog> taken;
  for (auto const& log : logs) taken.push_back(*log);
  logs.clear();
  return taken;
}

Patience::Patience(double seconds) : before_(patience.exchange(seconds)) {}
Patience::~Patience() { patience = before_; }

}  // namespace selenite::shim

using namespace selenite;
using namespace selenite::shim;

struct ncclComm {
  std::shared_ptr<Meeting> meeting;
  int index;
};

namespace {

ncclResult_t post(ncclComm_t comm, NcclCall call, void const* from, void* to) {
  if (!comm) return refuse(ncclInvalidArgument, "there is no communicator");
  call.comm = comm->meeting->number(), call.index = comm->index, call.ranks = comm->meeting->ranks();
  if (call.peer < 0 || call.peer >= call.ranks || (call.is_message() && call.peer == call.index))
    return refuse(ncclInvalidArgument, concat("a communicator of ", call.ranks, " has no ", to_string(call)));
  if (fail_capture())
    return refuse(ncclInvalidUsage, "the thread captures, and nothing here launches collectives again");
  std::vector<Pending> calls{{comm->meeting, call, from, to}};
  if (group_depth == 0) return run(calls);
  grouped.push_back(calls.front());
  return ncclSuccess;
}

}  // namespace

char const* ncclGetErrorString(ncclResult_t result) {
  switch (result) {
    case ncclSuccess:
      return "no error";
    case ncclSystemError:
      return "unhandled system error";
    case ncclInvalidArgument:
      return "invalid argument";
    case ncclInvalidUsage:
      return "invalid usage";
    case ncclRemoteError:
      return "remote process exited or there was a network error";
    case ncclInProgress:
      return "NCCL operation in progress";
  }
  return "";
}
char const* ncclGetLastError(ncclComm_t) { return last_error.c_str(); }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<std::uint64_t> ids{0};
  std::uint64_t const number = ++ids;
  *id = {};
  std::memcpy(id, &number, sizeof number);
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  std::uint64_t number = 0;
  std::memcpy(&number, &id, sizeof number);
  if (number == 0 || config->magic != 0xcafebeef || config->size != sizeof(ncclConfig_t) || rank < 0 || rank >= ranks)
    return refuse(ncclInvalidArgument, concat("rank ", rank, " of ", ranks, " with the id ", number));
  log_of_thread();
  std::shared_ptr<Meeting> meeting;
  {
    std::lock_guard const lock(meetings_mutex);
    meeting = meetings[number].lock();
    if (!meeting) meetings[number] = meeting = std::make_shared<Meeting>(static_cast<int>(number), ranks);
  }
  if (meeting->ranks() != ranks)
    return refuse(ncclInvalidArgument, concat("one id for ", ranks, " and for ", meeting->ranks(), " ranks"));
  *comm = new ncclComm{meeting, rank};
  return meeting->join(rank);
}
ncclResult_t ncclCommFinalize(ncclComm_t) { return ncclSuccess; }
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  expect_unregistered([comm](Region const& r) { return r.comm == comm; }, "a communicator");
  if (std::string const waits = comm->meeting->leave(comm->index); !waits.empty()) {
    std::lock_guard const lock(memory_mutex);
    memory_seen.misuse += waits;
  }
  delete comm;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm->meeting->abort(comm->index);
  {
    std::unique_lock lock(aborts_mutex);
    ++aborts;
    aborts_changed.notify_all();
    aborts_changed.wait_for(lock, std::chrono::duration<double>(patience.load()),
                            [] { return aborts >= aborts_together; });
  }
  {
    std::lock_guard const lock(memory_mutex);  // an abort ends registrations, too
    std::erase_if(regions, [comm](Region const& r) { return r.comm == comm; });
  }
  return ncclCommDestroy(comm);
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  *error = comm->meeting->ranks() == failing_ranks ? refuse(ncclRemoteError, "planted") : comm->meeting->state();
  return ncclSuccess;
}
ncclResult_t ncclGetVersion(int* version) {
  *version = 22809;
  return ncclSuccess;
}
ncclResult_t ncclMemAlloc(void** memory, std::size_t bytes) {
  std::lock_guard const lock(memory_mutex);
  memory_seen.taken += bytes;
  *memory = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
  return *memory ? ncclSuccess : ncclSystemError;
}
ncclResult_t ncclMemFree(void* memory) {
  expect_unregistered([memory](Region const& r) { return r.begin == memory; }, "memory");
  std::free(memory);
  return ncclSuccess;
}
ncclResult_t ncclCommRegister(ncclComm_t comm, void* memory, std::size_t bytes, void** handle) {
  std::lock_guard const lock(memory_mutex);
  *handle = &regions.emplace_back(Region{comm, static_cast<std::byte const*>(memory), bytes});
  memory_seen.registered += bytes;
  return ncclSuccess;
}
ncclResult_t ncclCommDeregister(ncclComm_t comm, void* handle) {
  std::lock_guard const lock(memory_mutex);
  bool const known = std::erase_if(regions, [&](Region const& r) { return &r == handle && r.comm == comm; }) == 1;
  return known ? ncclSuccess : refuse(ncclInvalidArgument, "a registration that is not there");
}

ncclResult_t ncclAllReduce(void const* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
  return post(comm, {.kind = NcclCall::Kind::all_reduce, .count = count, .type = type, .op = op, .stream = stream},
              from, to);
}
ncclResult_t ncclReduceScatter(void const* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
  return post(comm, {.kind = NcclCall::Kind::reduce_scatter, .count = count, .type = type, .op = op, .stream = stream},
              from, to);
}
ncclResult_t ncclAllGather(void const* from, void* to, std::size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return post(comm, {.kind = NcclCall::Kind::all_gather, .count = count, .type = type, .stream = stream}, from, to);
}
ncclResult_t ncclBroadcast(void const* from, void* to, std::size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return post(comm, {.kind = NcclCall::Kind::broadcast, .count = count, .type = type, .peer = root, .stream = stream},
              from, to);
}
ncclResult_t ncclSend(void const* from, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return post(comm, {.kind = NcclCall::Kind::send, .count = count, .type = type, .peer = peer, .stream = stream}, from,
              nullptr);
}
ncclResult_t ncclRecv(void* to, std::size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return post(comm, {.kind = NcclCall::Kind::recv, .count = count, .type = type, .peer = peer, .stream = stream},
              nullptr, to);
}
ncclResult_t ncclGroupStart() {
  ++group_depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (group_depth == 0) return refuse(ncclInvalidUsage, "a group ends that has not begun");
  if (--group_depth > 0) return ncclSuccess;
  std::vector<Pending> const calls = std::exchange(grouped, {});
  return run(calls);
}
