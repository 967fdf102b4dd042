#include "exec/milestones.hpp"

#include "core/error.hpp"

namespace selenite {

std::uint64_t Milestones::set(CUstream_st* stream) {
  std::uint64_t const number = set_ + 1;  // only the owner changes it
  if (number > kept) events_[number % kept].wait();
  std::lock_guard const lock(mutex_);
  if (events_.empty()) events_ = std::vector<CudaEvent>(kept);
  events_[number % kept].record(stream);
  return set_ = number;
}

std::uint64_t Milestones::passed() {
  std::lock_guard const lock(mutex_);
  if (set_ > kept && passed_ < set_ - kept) passed_ = set_ - kept;
  try {
    while (passed_ < set_ && events_[(passed_ + 1) % kept].passed()) ++passed_;
  } catch (Error const&) {
    // the device has failed: its owner's next call says so
  }
  return passed_;
}

}  // namespace selenite
