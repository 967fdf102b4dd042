#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/kernel.hpp"

struct CUstream_st;  // cudaStream_t points to one; no CUDA header is needed to hold it

namespace selenite {

class CublasLt;  ///< handle and chosen algorithms, known to kernels/gemm/gemm_cuda.cpp
class Cudnn;     ///< handle and plans, known to kernels/attention/cudnn_cuda.cpp

/// What launches are shaped by; from the runtime's device properties, read once by whoever opens the device.
struct CudaDevice {
  int ordinal = 0;
  int major = 9, minor = 0;                      ///< compute capability
  int multiprocessors = 132;                     ///< H100 and H200 SXM
  std::int64_t shared_bytes = 227 << 10;         ///< that a block may ask for
  std::int64_t cache_bytes = 50 << 20;           ///< of the cache that all multiprocessors share
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
  /// The library of attention, alike.
  std::shared_ptr<Cudnn> cudnn;
  /// What prepare() has to say of launches to come, for the log.
  std::set<std::string> notes;
  /// All launches that matter have been prepared: for others nothing is made that takes seconds.
  bool prepared = false;
  /// FLOPs from the sizes handed to the library, never from cost().
  double flops = 0;
};

// What the program needs of the CUDA runtime itself: cuda_runtime.cpp, or cuda_runtime_missing.cpp in builds without
// it, where opening a device throws.

/// Throws Error, with the expression and its place, unless the status (a cudaError_t) is success.
void check_cuda(int status, char const* expression, char const* file, int line);
/// Around every call into the CUDA runtime.
#define CUDA_CHECK(expression) ::selenite::check_cuda((expression), #expression, __FILE__, __LINE__)

/// How many devices this process sees; 0 without a driver.
int cuda_devices();
/// Their identities, the same in all processes, whatever each sees and in what order.
std::vector<std::string> cuda_device_ids();
/// Makes a device the calling thread's. Throws Error, with what to change, if there is no driver, no such device, or
/// one that this build has no code for.
CudaDevice open_cuda_device(int ordinal);
/// Kernels on a device can read what the first `devices` hold. Throws Error where the machine has no way for that.
void open_peers(int ordinal, int devices);
/// Whether a program for these architectures ("80,90-real", named as for CMAKE_CUDA_ARCHITECTURES) runs on a device of
/// this compute capability: code serves later minors of its major, PTX all that came later.
bool has_code_for(std::string_view architectures, int major, int minor);
/// Bytes of the thread's device that are free.
std::int64_t free_cuda_memory();
/// Device memory, zero-filled. Throws Error with the bytes asked for and those that are free.
std::byte* allocate_cuda(std::int64_t bytes);
/// Host memory that a device copies from and to beside other work (pinned); zero-filled.
std::byte* allocate_pinned(std::int64_t bytes);
void free_cuda(std::byte* memory) noexcept;
void free_pinned(std::byte* memory) noexcept;
/// Copies between host and device memory in either direction; returns when done. What is read must be finished: this
/// waits for no stream. For any thread.
void copy_cuda(void* to, void const* from, std::int64_t bytes);

}  // namespace selenite
