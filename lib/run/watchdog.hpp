#pragma once
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace selenite {

/// Ends a job that no longer moves: if no action is announced for `limit` seconds, `expired` is called once with the
/// action in flight. A limit of 0 switches it off.
class Watchdog {
 public:
  Watchdog(double limit_seconds, std::function<void(std::string const& action)> expired);
  ~Watchdog();
  Watchdog(Watchdog const&) = delete;
  Watchdog& operator=(Watchdog const&) = delete;
  void announce(std::string action);

 private:
  void watch(double limit);

  std::function<void(std::string const&)> expired_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string action_ = "start";
  std::uint64_t count_ = 0;
  bool closing_ = false;
  std::jthread thread_;
};

}  // namespace selenite
