#pragma once
#include <cstdint>
#include <cuda_runtime.h>

#include "core/cuda.hpp"
#include "core/error.hpp"

namespace selenite {

constexpr int warp_size = 32;

/// The shape of a launch.
struct Launch {
  dim3 blocks, threads;
  std::size_t shared_bytes = 0;  ///< dynamic shared memory of a block
};

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
/// Whole warps of at least `threads` threads.
constexpr unsigned whole_warps(std::int64_t threads) {
  return static_cast<unsigned>(divide_up(threads < 1 ? 1 : threads, warp_size) * warp_size);
}
constexpr unsigned grid_size(std::int64_t blocks) { return static_cast<unsigned>(blocks); }

/// A block gets 48 KiB, static and dynamic together, unless its kernel has asked for more dynamic memory. (Kernels here
/// that have any have little static memory.) Throws Error where a block needs more than the device has.
template <class... Params>
void ask_for_shared_memory(Cuda const& cuda, void (*kernel)(Params...), std::size_t bytes) {
  bool const ask = bytes > 32 << 10;
  cudaFuncAttributes own{};
  if (ask) CUDA_CHECK(cudaFuncGetAttributes(&own, kernel));
  std::size_t const all = bytes + own.sharedSizeBytes;
  validate(static_cast<std::int64_t>(all) <= cuda.device.shared_bytes,
           "A kernel needs more shared memory than the device has (", all, " bytes a block, of ",
           cuda.device.shared_bytes,
           "). Attention needs most: leave it to cuDNN (run.attention_library = \"auto\", no attention dropout, no "
           "document masks), or use smaller heads.");
  if (ask)
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

/// Puts a kernel on the stream; the one way in which kernels are launched. Nothing happens without blocks.
template <class... Params, class... Args>
void launch_kernel(Cuda const& cuda, Launch const& shape, void (*kernel)(Params...), Args const&... args) {
  if (shape.blocks.x == 0 || shape.blocks.y == 0) return;
  ask_for_shared_memory(cuda, kernel, shape.shared_bytes);
  cudaLaunchConfig_t config{};
  config.gridDim = shape.blocks;
  config.blockDim = shape.threads;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = cuda.stream;
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...));
}

}  // namespace selenite
