#pragma once
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "comm/comm.hpp"
#include "core/cuda_event.hpp"

namespace selenite {

/// The calls that the device has not ended, by their streams: those of one stream come one after the other.
class Flights {
 public:
  /// `body` gives the stream a call.
  template <class Body>
  void follow(Call const& call, CUstream_st* stream, Body&& body) {
    std::optional<Entry> entry = begin(call, stream);
    body();
    if (!entry) return;
    entry->ended.record(stream);
    std::lock_guard const lock(mutex_);
    queued_[stream].push_back(std::move(*entry));
  }
  /// For a thread beside the one that calls.
  Comm::Flight look() {
    std::lock_guard const lock(mutex_);
    Comm::Flight flight{.ended = ended_};
    try {
      for (auto& [stream, queue] : queued_) {
        tidy(queue);
        if (!queue.empty() && queue.front().begun.passed()) flight.call = queue.front().call;
      }
    } catch (Error const&) {
      // the device has failed: its owner's next call says so
    }
    flight.ended = ended_;
    return flight;
  }

 private:
  /// So far behind, the device is in one of these for long.
  static constexpr std::size_t most_queued = 256;
  struct Entry {
    Call call;
    CudaEvent begun, ended;
  };
  std::optional<Entry> begin(Call const& call, CUstream_st* stream) {
    std::lock_guard const lock(mutex_);
    auto& queue = queued_[stream];
    if (queue.size() >= most_queued) tidy(queue);
    if (queue.size() >= most_queued) return std::nullopt;
    if (unused_.empty()) unused_.emplace_back();
    Entry entry = std::move(unused_.back());
    unused_.pop_back();
    entry.call = call;
    entry.begun.record(stream);
    return entry;
  }
  void tidy(std::deque<Entry>& queue) {
    for (; !queue.empty() && queue.front().ended.passed(); queue.pop_front(), ++ended_)
      unused_.push_back(std::move(queue.front()));
  }

  std::mutex mutex_;
  std::map<CUstream_st*, std::deque<Entry>> queued_;
  std::vector<Entry> unused_;
  std::uint64_t ended_ = 0;
};

}  // namespace selenite
