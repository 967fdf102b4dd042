#include "tests/shim/streams.hpp"

#include <atomic>
#include <cstdint>

namespace selenite::shim {
namespace {
thread_local std::vector<Step>* steps_of_thread = nullptr;
}  // namespace

void* new_handle() {
  static std::atomic<std::uintptr_t> handles{0};
  return reinterpret_cast<void*>(++handles * 64);
}
void remember_steps(std::vector<Step>* steps) { steps_of_thread = steps; }
void remember(Step const& step) {
  if (steps_of_thread) steps_of_thread->push_back(step);
}

}  // namespace selenite::shim
