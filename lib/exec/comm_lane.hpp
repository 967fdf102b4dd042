#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

#include "comm/comm.hpp"

namespace selenite {

/// The comm lane of a rank on CPU: one thread that does what it is given, in order, and sleeps when there is nothing.
/// From its construction on this thread alone launches collectives (but those over tensor ranks, whose groups are never
/// those of others), so that every group has them in one order.
class CommLane {
 public:
  explicit CommLane(Comm& comm);
  /// Waits for what is not done; gives it up if the caller is leaving by an exception.
  ~CommLane();
  CommLane(CommLane const&) = delete;
  CommLane& operator=(CommLane const&) = delete;

  /// Returns the number of this piece of work, counted from 1.
  std::uint64_t post(std::function<void()> work);
  /// Returns when the work of this number is done. Rethrows what it, or work before it, has thrown.
  void wait(std::uint64_t number);

 private:
  void run();

  Comm& comm_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;
  std::uint64_t posted_ = 0, done_ = 0;
  bool closing_ = false;
  int exceptions_ = std::uncaught_exceptions();
  std::exception_ptr error_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace selenite
