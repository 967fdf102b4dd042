#pragma once
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "comm/comm.hpp"
#include "run/watch_table.hpp"

namespace selenite {

/// Ends a job that no longer moves. Each rank's watchdog thread posts what the rank does to rank 0 and to the last
/// rank; of these the first that sees the limit pass decides which rank it was.
class Watchdog {
 public:
  struct Handlers {
    /// Called once, on the rank that decides, with the whole message; has to end the job.
    std::function<void(std::string const&)> expired;
    /// A line that may be the last of this rank: a SIGTERM came and the rank does not move.
    std::function<void(std::string const&)> alarm;
  };
  /// A limit of 0 seconds switches it off.
  Watchdog(double limit_seconds, Comm& comm, ProcessGrid const& grid, Handlers handlers);
  ~Watchdog();
  Watchdog(Watchdog const&) = delete;
  Watchdog& operator=(Watchdog const&) = delete;

  enum class Pace : std::uint8_t { timed, slow };
  /// What this rank does from now on. A slow action (files, calibration) may take any time, as long as it does not wait
  /// for another rank.
  void announce(std::string action, Pace pace = Pace::slow);

 private:
  void watch();
  void tick(double now);
  void heed_signal(double now);
  void post();
  void look(double now);
  WatchPost own(double now);

  double const limit_, period_;
  Comm& comm_;
  Rank const last_;
  Handlers handlers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string action_ = "start";
  std::uint64_t actions_ = 0;
  Pace pace_ = Pace::slow;
  bool closing_ = false;
  // of the thread alone
  WatchTable table_;
  std::uint64_t seen_ = 0;  ///< actions and calls, when they last changed
  double moved_at_ = 0, posted_at_ = 0, ticked_at_ = 0;
  std::optional<double> signal_at_;
  bool alarmed_ = false, expired_ = false;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace selenite
