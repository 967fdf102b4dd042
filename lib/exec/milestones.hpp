#pragma once
#include <cstdint>
#include <mutex>
#include <vector>

#include "core/cuda_event.hpp"

namespace selenite {

/// How far a device is with what one thread, its owner, gives it: moments that the owner numbers from 1, and another
/// thread asks for.
class Milestones {
 public:
  /// When the stream has done what it has so far. The owner waits where it is more than 1,024 of these ahead.
  std::uint64_t set(CUstream_st* stream);
  /// The latest that has passed; for another thread than the owner. Never waits for the device.
  std::uint64_t passed();

 private:
  static constexpr std::uint64_t kept = 1024;
  std::mutex mutex_;
  std::vector<CudaEvent> events_;  ///< of the last `kept`
  std::uint64_t set_ = 0, passed_ = 0;
};

}  // namespace selenite
