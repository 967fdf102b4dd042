#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

namespace selenite {

/// A thread that does file work in the order in which it was asked for. All HDF5 calls go through such threads, one at
/// a time in the whole process, since not every build of that library may be called from several threads. Safe to use
/// from any thread; work must not wait for that of another IoThread.
class IoThread {
 public:
  IoThread();
  /// Finishes what was asked for.
  ~IoThread();
  IoThread(IoThread const&) = delete;
  IoThread& operator=(IoThread const&) = delete;

  /// Runs `job` some time later; the future gives its end or its exception.
  std::future<void> post(std::function<void()> job);
  /// Runs `job` there and waits; its exception is thrown here. From the I/O thread itself it is a plain call.
  void run(std::function<void()> job);

 private:
  void work();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<void()>> jobs_;
  bool closing_ = false;
  std::jthread thread_;  // last: started when all else exists
};

}  // namespace selenite
