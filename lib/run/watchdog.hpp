#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "comm/comm.hpp"
#include "exec/cuda_lanes.hpp"
#include "run/watch_table.hpp"

namespace selenite {

/// Ends a job that no longer moves. Each rank's watchdog thread posts what the rank does to rank 0 and to the last
/// rank; of these the first that sees the limit pass decides which rank it was. It also asks whether the transport
/// still works, which on a device fails behind the calls. Where a device does the work, what a rank does is what the
/// device has got to, not what the host has last given it.
class Watchdog {
 public:
  struct Handlers {
    /// Called once, on the rank that decides, with the whole message; has to end the job.
    std::function<void(std::string const&)> expired;
    /// Called once, on any rank whose transport has failed, with the whole message; has to end the job.
    std::function<void(std::string const&)> failed;
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
  /// From now on an action begins when the device has done what it was given before. The device outlives this.
  void follow(CudaLanes& device);

 private:
  void watch();
  void tick(double now);
  void heed_signal(double now);
  void post();
  void look(double now);
  WatchPost own(double now);
  void look_at_device();
  void expect_working(double now);

  double const limit_, period_;
  Comm& comm_;
  Rank const last_;
  Handlers handlers_;
  ProcessGrid const grid_;
  std::mutex mutex_;
  std::condition_variable changed_;
  struct Announced {
    std::string text = "start";
    Pace pace = Pace::slow;
    std::uint64_t number = 0;     ///< counted from 1
    std::uint64_t milestone = 0;  ///< when the device gets there; 0: it is there
  };
  std::deque<Announced> announced_ =
      std::deque<Announced>(1);  ///< the one under way, and those that the device has not got to
  std::uint64_t actions_ = 0;
  CudaLanes* device_ = nullptr;
  bool closing_ = false;
  // of the thread alone
  WatchTable table_;
  std::uint64_t seen_ = 0;  ///< actions and calls, begun and ended, when they last changed
  Comm::Flight flight_;
  double moved_at_ = 0, posted_at_ = 0, ticked_at_ = 0;
  std::optional<double> signal_at_, failing_since_;
  bool alarmed_ = false, expired_ = false, failed_ = false;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace selenite
