#include "tests/shim/streams.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

/// A moment that may not have come.
struct CUevent_st {
  bool passed = true;
  std::chrono::steady_clock::time_point at{};
  std::uint64_t records = 0;
};

namespace selenite::shim {
namespace {

thread_local std::vector<Step>* steps_of_thread = nullptr;
std::mutex mutex;
std::condition_variable changed;
struct Held {
  std::size_t free = 0;  ///< still done at once
  std::vector<std::function<void()>> work;
};
std::map<void const*, Held> held;

template <class Ready>
void wait_until(Ready ready) {
  std::unique_lock lock(mutex);
  changed.wait(lock, ready);
}

}  // namespace

void* new_handle() {
  static std::atomic<std::uintptr_t> handles{0};
  return reinterpret_cast<void*>(++handles * 64);
}
void remember_steps(std::vector<Step>* steps) { steps_of_thread = steps; }
void remember(Step const& step) {
  if (steps_of_thread) steps_of_thread->push_back(step);
}

void hold(void const* stream, std::size_t first) {
  std::lock_guard const lock(mutex);
  held[stream].free = first;
}
void release(void const* stream) {
  std::unique_lock lock(mutex);
  for (std::vector<std::function<void()>> work; !(work = std::exchange(held[stream].work, {})).empty();) {
    lock.unlock();
    for (auto const& w : work) w();
    lock.lock();
  }
  held.erase(stream);
  changed.notify_all();
}
void run_on(void const* stream, std::function<void()> work) {
  {
    std::lock_guard const lock(mutex);
    if (auto const found = held.find(stream); found != held.end()) {
      if (found->second.free == 0) return found->second.work.push_back(std::move(work));
      --found->second.free;
    }
  }
  work();
}

CUevent_st* new_event() { return new CUevent_st; }
void destroy(CUevent_st* event) { delete event; }
void record(CUevent_st* event, void const* stream) {
  std::uint64_t number = 0;
  {
    std::lock_guard const lock(mutex);
    number = ++event->records;
    event->passed = false;
  }
  run_on(stream, [event, number] {
    std::lock_guard const lock(mutex);
    if (event->records != number) return;  // recorded again since
    event->passed = true, event->at = std::chrono::steady_clock::now();
    changed.notify_all();
  });
}
bool passed(CUevent_st const* event) {
  std::lock_guard const lock(mutex);
  return event->passed;
}
void wait_for(CUevent_st const* event) {
  wait_until([event] { return event->passed; });
}
void wait_for_stream(void const* stream) {
  wait_until([stream] { return !held.contains(stream); });
}
double milliseconds_between(CUevent_st const* first, CUevent_st const* second) {
  return std::chrono::duration<double, std::milli>(second->at - first->at).count();
}

}  // namespace selenite::shim
