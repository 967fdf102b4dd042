#include "exec/comm_lane.hpp"

#include "core/parallel_for.hpp"

namespace selenite {

CommLane::CommLane(Comm& comm) : comm_(comm), thread_([this] { run(); }) {}

CommLane::~CommLane() {
  bool const leaving = std::uncaught_exceptions() > exceptions_;
  {
    std::unique_lock lock(mutex_);
    if (!leaving) changed_.wait(lock, [&] { return done_ == posted_ || error_; });
    closing_ = true;
  }
  changed_.notify_all();
  if (leaving) comm_.give_up();
}

std::uint64_t CommLane::post(std::function<void()> work) {
  std::uint64_t number = 0;
  {
    std::lock_guard const lock(mutex_);
    work_.push_back(std::move(work));
    number = ++posted_;
  }
  changed_.notify_all();
  return number;
}

void CommLane::wait(std::uint64_t number) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return done_ >= number || error_; });
  if (error_) std::rethrow_exception(error_);
}

void CommLane::run() {
  set_threads(1);  // the others compute
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return closing_ || !work_.empty(); });
    if (closing_) return;
    std::function<void()> const work = std::move(work_.front());
    work_.pop_front();
    lock.unlock();
    std::exception_ptr error;
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error) {
      error_ = error;
      changed_.notify_all();
      return;
    }
    ++done_;
    changed_.notify_all();
  }
}

}  // namespace selenite
