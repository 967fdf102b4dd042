#pragma once

namespace selenite {

/// What a profiler that waits to be told records (ncu and nsys: --profile-from-start off,
/// --capture-range=cudaProfilerApi): the device's work while one exists. Throws Error in builds without CUDA.
class CudaProfilerRange {
 public:
  CudaProfilerRange();
  ~CudaProfilerRange();
  CudaProfilerRange(CudaProfilerRange const&) = delete;
  CudaProfilerRange& operator=(CudaProfilerRange const&) = delete;
};

}  // namespace selenite
