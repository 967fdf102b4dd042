#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/kernel.hpp"

struct CUstream_st;  // cudaStream_t points to one; no CUDA header is needed to hold it

namespace selenite {

class CublasLt;  ///< handle and chosen algorithms, known to kernels/gemm/gemm_cuda.cpp

/// What launches are shaped by; from the runtime's device properties, read once by whoever opens the device.
struct CudaDevice {
  int ordinal = 0;
  int major = 9, minor = 0;                      ///< compute capability
  int multiprocessors = 132;                     ///< H100 and H200 SXM
  std::int64_t shared_bytes = 227 << 10;         ///< that a block may ask for
  std::int64_t memory = std::int64_t{80} << 30;  ///< bytes in all
};

/// What a CUDA launch gets besides its arguments, and what it counts. Launches are asynchronous: they are put on the
/// stream, allocate nothing and never wait for the device.
class Cuda {
 public:
  CUstream_st* stream = nullptr;
  /// Device memory of at least workspace(op, budget) bytes, 256-byte aligned; set by whoever launches.
  std::span<std::byte> workspace;
  CudaDevice device;
  /// The library of matrix products; the first launch that needs it makes it.
  std::shared_ptr<CublasLt> cublas_lt;
  /// FLOPs from the sizes handed to the library, never from cost().
  double flops = 0;
};

}  // namespace selenite
