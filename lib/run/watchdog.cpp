#include "run/watchdog.hpp"

#include <chrono>

namespace selenite {

Watchdog::Watchdog(double limit, std::function<void(std::string const&)> expired) : expired_(std::move(expired)) {
  if (limit > 0) thread_ = std::jthread([this, limit] { watch(limit); });
}

Watchdog::~Watchdog() {
  {
    std::lock_guard const lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
}

void Watchdog::announce(std::string action) {
  std::lock_guard const lock(mutex_);
  action_ = std::move(action);
  ++count_;
}

void Watchdog::watch(double limit) {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    std::uint64_t const seen = count_;
    changed_.wait_for(lock, std::chrono::duration<double>(limit), [this] { return closing_; });
    if (closing_ || count_ != seen) continue;
    std::string const action = action_;
    lock.unlock();
    expired_(action);
    return;
  }
}

}  // namespace selenite
