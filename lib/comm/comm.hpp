#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/calls.hpp"
#include "comm/collectives.hpp"
#include "core/arena.hpp"
#include "core/error.hpp"
#include "core/ids.hpp"
#include "core/kernel.hpp"

namespace selenite {

/// The ranks of a job and what they can say to each other. One object a rank; backends: self (one rank), threads, MPI
/// and NCCL. Collectives over a group of one rank are not calls at all: whoever asks checks the group's size (lib/exec
/// does).
class Comm {
 public:
  virtual ~Comm() = default;
  virtual Rank rank() const = 0;
  virtual std::int64_t world() const = 0;
  /// Makes the groups of `grid`, in place of those of an earlier one. Called by all ranks before any launch.
  virtual void set_grid(ProcessGrid const& grid) = 0;

  /// Tensors lie in this device's memory from now on; calls come behind what its stream has at the time. By default
  /// they lie in host memory, and backends that know no other refuse.
  void use(Cuda& cuda) {
    Calls::Scope const scope(calls_, {.kind = Call::Kind::connect});
    do_use(cuda);
  }

  /// A collective of this rank's group, a Send or a Recv.
  template <class Op>
  void launch(Op const& op) {
    Calls::Scope const scope(calls_, call_of(op));
    do_launch(op);
  }
  /// Returns when the memory of what this rank has sent on the channel may be changed: of all, or, where given, of
  /// what was sent from `data`.
  void finish(Channel channel, Tensor const& data = {}) {
    Calls::Scope const scope(calls_, {.kind = Call::Kind::finish, .channel = channel});
    do_finish(channel, data);
  }

  /// Throws Error if the transport, where it works on behind the calls, has failed since. For any thread.
  virtual void expect_working() const {}
  /// Where calls return before they are done: the one that the device is in, and how many it has ended. For a thread
  /// beside the one that calls.
  struct Flight {
    std::optional<Call> call;
    std::uint64_t ended = 0;
  };
  virtual Flight in_flight() { return {}; }
  /// A region of the device's memory that tensors will lie in, to be used without copies where the transport can;
  /// until withdraw_memory(), which comes before it is freed.
  virtual void lend_memory(std::byte*, std::int64_t) {}
  virtual void withdraw_memory() {}
  /// Fresh device memory of the kind that the transport likes best; zero-filled.
  virtual Memory allocate_memory(std::int64_t bytes) { return Memory(bytes, Memory::Kind::cuda); }
  /// Another thread of this rank may wait in a launch that nobody will answer, because the rank is leaving by an error:
  /// that wait throws Stopped.
  virtual void give_up() = 0;

  // Control: small values on the host, over the whole world.
  void all_reduce(std::span<double> values, Reduction reduction) {  ///< sums in rank order
    Calls::Scope const scope(calls_, {});
    do_all_reduce(values, reduction);
  }
  void broadcast(std::vector<std::byte>& bytes, Rank root) {
    Calls::Scope const scope(calls_, {});
    do_broadcast(bytes, root);
  }
  /// All ranks' texts in rank order, on every rank.
  std::vector<std::string> all_gather(std::string const& text) {
    Calls::Scope const scope(calls_, {});
    return do_all_gather(text);
  }
  void barrier() {
    Calls::Scope const scope(calls_, {});
    do_barrier();
  }
  /// Ends the whole job at once with this exit code; between threads by Aborted, which run_threads rethrows.
  [[noreturn]] virtual void abort(int code) = 0;

  // Notes: small texts between the watchdogs of ranks. Neither call ever waits for another rank; a note to a rank that
  // is gone is lost. For one thread of a rank at a time, beside all else that the rank does.
  virtual void post_note(Rank to, std::string const& note) = 0;
  /// The next of those that have come.
  virtual std::optional<std::string> take_note() = 0;

  /// What this rank's threads are in.
  Calls const& calls() const { return calls_; }
  /// Bytes this rank has handed to the transport, for the check against the plan; without control.
  SentBytes const& sent() const { return sent_; }
  std::int64_t bytes_sent() const { return sent_.total(); }

 protected:
  virtual void do_use(Cuda& cuda);

  SentBytes sent_;

 private:
  virtual void do_launch(AllReduce const& op) = 0;
  virtual void do_launch(AllGather const& op) = 0;
  virtual void do_launch(ReduceScatter const& op) = 0;
  virtual void do_launch(Broadcast const& op) = 0;
  virtual void do_launch(RingShift const& op) = 0;
  virtual void do_launch(Send const& op) = 0;
  virtual void do_launch(Recv const& op) = 0;
  virtual void do_finish(Channel channel, Tensor const& data) = 0;
  virtual void do_all_reduce(std::span<double> values, Reduction reduction) = 0;
  virtual void do_broadcast(std::vector<std::byte>& bytes, Rank root) = 0;
  virtual std::vector<std::string> do_all_gather(std::string const& text) = 0;
  virtual void do_barrier() = 0;

  Calls calls_;
};

/// Lends memory to a Comm as long as this lives.
class LentMemory {
 public:
  LentMemory(Comm& comm, Memory const& memory) : comm_(comm) { comm.lend_memory(memory.base(), memory.bytes()); }
  ~LentMemory() { comm_.withdraw_memory(); }
  LentMemory(LentMemory const&) = delete;
  LentMemory& operator=(LentMemory const&) = delete;

 private:
  Comm& comm_;
};

/// One rank alone.
std::unique_ptr<Comm> make_self_comm();
/// The ranks that mpirun or srun started. Initializes MPI with MPI_THREAD_MULTIPLE and finalizes it when destroyed;
/// throws Error if the library can't do that, or in builds without MPI.
std::unique_ptr<Comm> make_mpi_comm();
/// Launches go by NCCL, on the stream that the device of use() has at the time, and return at once; all else is
/// `control`'s. The first call of use() after the first set_grid(), and each set_grid() after that, makes communicators
/// and waits for all ranks. Messages go between neighbours of a pipeline, round its ends too, and between its ends on
/// the tied channel; of one sender and channel they must be received in the order sent, whatever their tags are. Throws
/// Error in builds without NCCL.
std::unique_ptr<Comm> make_nccl_comm(std::unique_ptr<Comm> control);
/// Device memory that NCCL takes for itself on a rank of this layout, in bytes; an estimate, see nccl_groups.cpp.
std::int64_t nccl_memory(ProcessGrid const& grid, Rank rank);
/// Was this process started by an MPI launcher (so that "auto" means MPI)? `environment` looks up a variable.
bool started_by_mpi(char const* (*environment)(char const*));
/// How many processes the launcher (mpirun, srun) says it has started beside this one, with it; 0 if none says.
std::int64_t launched_ranks(char const* (*environment)(char const*));

/// Runs `body` as `world` ranks, one thread each, that share the caller's number of threads; returns when all have
/// ended. If a rank throws, every wait of the others throws Stopped, and the first error is rethrown as Error, with
/// "rank N: " in front where world > 1. After an abort, a rank that has not ended within two seconds is beyond help:
/// the process ends with the abort's code.
void run_threads(std::int64_t world, std::function<void(Comm&)> const& body);
/// What ends a thread rank because another one has failed: not an error of its own, and not to be shown.
class Stopped : public Error {
 public:
  Stopped() : Error("This rank was stopped (another rank of the job has failed). See that rank's message.") {}
};

/// What Comm::abort of a thread rank throws.
class Aborted : public Error {
 public:
  Aborted(Rank rank, int exit_code);
  int code;
};

/// The texts of the ranks on this rank's machine, in rank order. For all ranks.
std::vector<std::string> all_gather_on_machine(Comm& comm, std::string const& text);

/// All ranks' texts must be the same (config, build): throws Error, on all, that names the first rank that differs and
/// the first line in which it does. A line "[name]" is the heading of those below it.
void require_same(Comm& comm, std::string const& what, std::string const& text);

}  // namespace selenite
