#include "io/io_thread.hpp"

#include <utility>

namespace selenite {
namespace {
/// Ranks may be threads of one process, each with an I/O thread of its own: they take turns.
std::mutex process_turn;
}  // namespace

IoThread::IoThread() : thread_([this] { work(); }) {}

IoThread::~IoThread() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
}

std::future<void> IoThread::post(std::function<void()> job) {
  std::packaged_task<void()> task(std::move(job));
  auto end = task.get_future();
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(task));
  }
  changed_.notify_one();
  return end;
}

void IoThread::run(std::function<void()> job) {
  if (std::this_thread::get_id() == thread_.get_id()) return job();
  post(std::move(job)).get();
}

void IoThread::work() {
  for (;;) {
    std::packaged_task<void()> task;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      task = std::move(jobs_.front());
      jobs_.pop_front();
    }
    std::lock_guard const turn(process_turn);
    task();
  }
}

}  // namespace selenite
