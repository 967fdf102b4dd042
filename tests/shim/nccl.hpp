#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tests/shim/include/nccl.h"
#include "tests/shim/streams.hpp"

/// What the stand-in for NCCL saw. Its ranks are threads of this process; calls are done when they return. It checks
/// that all members of a communicator make the same collectives in the same order, that messages have the size their
/// receiver expects, and that nobody waits for ever: calls fail then, and ncclGetLastError names those that differ.
/// What would wait for ever on a device, where sends wait for receivers, is found by tests/shim/replay.hpp.
namespace selenite::shim {

struct NcclCall {
  enum class Kind { all_reduce, reduce_scatter, all_gather, broadcast, send, recv };
  Kind kind;
  std::size_t count;
  ncclDataType_t type;
  int op = 0;    ///< of a reduction
  int peer = 0;  ///< of a message; the root of a broadcast
  cudaStream_t stream = nullptr;
  int comm = 0;              ///< its number, the same for all members
  int index = 0, ranks = 0;  ///< of the caller among them
  bool is_message() const { return kind == Kind::send || kind == Kind::recv; }
  /// Whether members that make these make the same collective.
  bool matches(NcclCall const& other) const {
    return kind == other.kind && count == other.count && type == other.type && op == other.op && peer == other.peer;
  }
};
/// "all-reduce of 12 fp32"
std::string to_string(NcclCall const& call);
std::int64_t size_of(ncclDataType_t type);

/// Of one thread.
struct NcclLog {
  std::vector<NcclCall> calls;
  std::vector<Step> steps;  ///< since its first communicator
};
/// Of all threads that had communicators since this was called last; they have ended.
std::vector<NcclLog> take_nccl_logs();

/// From now on an abort returns when so many have begun, as one may wait for a kernel behind which another one's
/// stands; 0: at once.
void plant_aborts_that_wait(int count);

/// From now on communicators of so many ranks have failed behind their calls, as ncclCommGetAsyncError tells; 0: none.
void plant_failure(int ranks);

/// Memory and its registrations, of all threads since this was called last.
struct NcclMemory {
  std::size_t taken = 0, registered = 0;
  /// Communicators that went with registrations, memory that went with them, and ends of communicators that waited in
  /// vain; "" if there were none.
  std::string misuse;
};
NcclMemory take_nccl_memory();

/// How long a call waits for the others, in seconds, as long as this lives.
class Patience {
 public:
  explicit Patience(double seconds);
  ~Patience();
  Patience(Patience const&) = delete;
  Patience& operator=(Patience const&) = delete;

 private:
  double before_;
};

}  // namespace selenite::shim
