#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "comm/collectives.hpp"

namespace selenite {

/// A call that a rank makes to others, for messages about those that do not return.
struct Call {
  enum class Kind : std::uint8_t {
    all_reduce = 1,
    all_gather,
    reduce_scatter,
    broadcast,
    ring_shift,
    send,
    recv,
    finish,
    control,
    connect
  };
  Kind kind = Kind::control;
  AxisSet group{};                     ///< of a collective
  Channel channel = Channel::forward;  ///< of send, recv and finish
  Rank peer{};                         ///< of send and recv
  bool operator==(Call const&) const = default;
};
/// "all-reduce over context+data", "recv from rank 2"
std::string to_string(Call const& call);

inline Call call_of(AllReduce const& op) { return {.kind = Call::Kind::all_reduce, .group = op.group}; }
inline Call call_of(AllGather const& op) { return {.kind = Call::Kind::all_gather, .group = op.group}; }
inline Call call_of(ReduceScatter const& op) { return {.kind = Call::Kind::reduce_scatter, .group = op.group}; }
inline Call call_of(Broadcast const& op) { return {.kind = Call::Kind::broadcast, .group = op.group}; }
inline Call call_of(RingShift const& op) { return {.kind = Call::Kind::ring_shift, .group = op.group}; }
inline Call call_of(Send const& op) { return {.kind = Call::Kind::send, .channel = op.channel, .peer = op.to}; }
inline Call call_of(Recv const& op) { return {.kind = Call::Kind::recv, .channel = op.channel, .peer = op.from}; }

/// In one word, never 0; unpacked() is the inverse.
std::uint64_t packed(Call const& call);
Call unpacked(std::uint64_t word);

/// The calls that the threads of a rank are in; read by its watchdog without a lock.
class Calls {
 public:
  /// A call lasts as long as this lives.
  class Scope {
   public:
    Scope(Calls& calls, Call const& call);
    ~Scope();
    Scope(Scope const&) = delete;
    Scope& operator=(Scope const&) = delete;

   private:
    Calls& calls_;
    std::atomic<std::uint64_t>* place_ = nullptr;
  };
  /// One of those that have not returned.
  std::optional<Call> current() const;
  /// Grows with every call's begin and end.
  std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<std::uint64_t>, 4> inside_{};  ///< packed, or 0; more threads than these go unseen
  std::atomic<std::uint64_t> count_{0};
};

}  // namespace selenite
