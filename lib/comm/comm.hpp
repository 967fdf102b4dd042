#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/collectives.hpp"
#include "core/error.hpp"
#include "core/ids.hpp"

namespace selenite {

/// The ranks of a job and what they can say to each other. One object a rank; backends: self (one rank), threads and
/// MPI. Collectives over a group of one rank are not calls at all: whoever asks checks the group's size (lib/exec
/// does).
class Comm {
 public:
  virtual ~Comm() = default;
  virtual Rank rank() const = 0;
  virtual std::int64_t world() const = 0;
  /// Makes the groups of `grid`, in place of those of an earlier one. Called by all ranks before any launch.
  virtual void set_grid(ProcessGrid const& grid) = 0;

  virtual void launch(AllReduce const& op) = 0;
  virtual void launch(AllGather const& op) = 0;
  virtual void launch(ReduceScatter const& op) = 0;
  virtual void launch(Broadcast const& op) = 0;
  virtual void launch(RingShift const& op) = 0;
  virtual void launch(Send const& op) = 0;
  virtual void launch(Recv const& op) = 0;
  /// Returns when the memory of all that this rank has sent on the channel may be changed.
  virtual void finish(Channel channel) = 0;

  /// Another thread of this rank may wait in a launch that nobody will answer, because the rank is leaving by an error:
  /// that wait throws Stopped.
  virtual void give_up() = 0;

  // Control: small values on the host, over the whole world.
  virtual void all_reduce(std::span<double> values, Reduction reduction) = 0;  ///< sums in rank order
  virtual void broadcast(std::vector<std::byte>& bytes, Rank root) = 0;
  /// All ranks' texts in rank order, on every rank.
  virtual std::vector<std::string> all_gather(std::string const& text) = 0;
  virtual void barrier() = 0;
  /// Ends the whole job at once with this exit code; between threads by Aborted, which run_threads rethrows.
  [[noreturn]] virtual void abort(int code) = 0;

  /// Bytes this rank has handed to the transport, for the check against the plan; without control.
  SentBytes const& sent() const { return sent_; }
  std::int64_t bytes_sent() const { return sent_.total(); }

 protected:
  SentBytes sent_;
};

/// One rank alone.
std::unique_ptr<Comm> make_self_comm();
/// The ranks that mpirun or srun started. Initializes MPI with MPI_THREAD_MULTIPLE and finalizes it when destroyed;
/// throws Error if the library can't do that, or in builds without MPI.
std::unique_ptr<Comm> make_mpi_comm();
/// Was this process started by an MPI launcher (so that "auto" means MPI)? `environment` looks up a variable.
bool started_by_mpi(char const* (*environment)(char const*));

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

/// All ranks' texts must be the same (config, build): throws Error that names the first rank that differs.
void require_same(Comm& comm, std::string const& what, std::string const& text);

}  // namespace selenite
