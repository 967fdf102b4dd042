#include "tests/shim/streams.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

/// A moment that may not have come.
struct CUevent_st {
  bool passed = true;
  std::chrono::steady_clock::time_point at{};
  std::uint64_t records = 0;
};

struct CUgraph_st {
  std::vector<std::function<void(void const*)>> work;
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

struct CaptureOfThread {
  void const* stream;
  CUgraph_st graph;
  bool failed = false;
};
thread_local std::optional<CaptureOfThread> capturing;
std::atomic<int> alive{0};
std::atomic<std::int64_t> launches{0};

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

bool begin_capture(void const* stream) {
  if (capturing) return false;
  capturing.emplace(stream);
  return true;
}
Capture capture_of(void const* stream) {
  if (!capturing || capturing->stream != stream) return Capture::none;
  return capturing->failed ? Capture::failed : Capture::going_on;
}
void capture(std::function<void(void const*)> work) { capturing->graph.work.push_back(std::move(work)); }
bool fail_capture() {
  if (capturing) capturing->failed = true;
  return capturing.has_value();
}
CUgraph_st* end_capture(void const* stream) {
  bool const whole = capture_of(stream) == Capture::going_on;
  CUgraph_st* const graph = whole ? copy(&capturing->graph) : nullptr;
  capturing.reset();
  return graph;
}
CUgraph_st* copy(CUgraph_st const* graph) {
  ++alive;
  return new CUgraph_st(*graph);
}
void destroy(CUgraph_st* graph) {
  --alive;
  delete graph;
}
void launch(CUgraph_st const* graph, void const* stream) {
  ++launches;
  for (auto const& work : graph->work) work(stream);
}
int graphs_alive() { return alive; }
std::int64_t graph_launches() { return launches; }

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
