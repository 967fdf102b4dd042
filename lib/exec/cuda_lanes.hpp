#pragma once
#include <cstdint>
#include <memory>

#include "core/config.hpp"
#include "core/cpu.hpp"
#include "core/cuda.hpp"
#include "core/tensor.hpp"
#include "exec/device_clock.hpp"
#include "exec/lanes.hpp"
#include "exec/milestones.hpp"

namespace selenite {

/// The lanes of a rank on a CUDA device: a stream each, and events between them. What launches are given is always the
/// stream of the current lane.
class CudaLanes {
 public:
  /// Throws Error as open_cuda_device does.
  explicit CudaLanes(int ordinal);
  ~CudaLanes();
  CudaLanes(CudaLanes const&) = delete;
  CudaLanes& operator=(CudaLanes const&) = delete;

  Cuda& cuda() { return cuda_; }
  void select(Lane lane);
  CUstream_st* stream(Lane lane) const;
  /// Numbers the moment when the current lane has done what it has so far; never 0. The latest 256 of a lane are known;
  /// an older one counts as the oldest of them.
  std::uint64_t record();
  /// The current lane goes on after that moment.
  void wait(std::uint64_t number);
  /// The host goes on after it.
  void wait_on_host(std::uint64_t number);
  /// Copies on the current lane; host memory is pinned and untouched until the lane is there.
  void copy(void* to, void const* from, std::int64_t bytes);
  /// The host waits for the current lane.
  void synchronize();
  /// A few bytes of pinned host memory, for values that go between host and device.
  std::byte* mailbox() { return mailbox_; }

  /// How far the compute lane is.
  std::uint64_t set_milestone() { return milestones_.set(stream(Lane::compute)); }
  std::uint64_t passed_milestone() { return milestones_.passed(); }
  /// What the lanes' work takes.
  DeviceClock& clock() { return clock_; }

 private:
  struct Streams;
  Cuda cuda_;
  Lane lane_ = Lane::compute;
  std::unique_ptr<Streams> streams_;
  Milestones milestones_;
  DeviceClock clock_;
  std::byte* mailbox_ = nullptr;
};

/// What runs a rank's operations: this machine's cores, or a CUDA device.
struct Executor {
  Executor() = default;
  Cpu cpu;
  std::unique_ptr<CudaLanes> cuda;  ///< null: the cores
  /// Device number `ordinal` of this machine, for the CUDA backend.
  Executor(BackendKind backend, int ordinal) {
    if (backend == BackendKind::cuda) cuda = std::make_unique<CudaLanes>(ordinal);
  }
};

}  // namespace selenite
