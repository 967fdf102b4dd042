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

/// Throws Error where a block asks for more than the device has.
inline void expect_shared_memory(Cuda const& cuda, Launch const& shape) {
  validate(static_cast<std::int64_t>(shape.shared_bytes) <= cuda.device.shared_bytes,
           "A kernel needs more shared memory than the device has (", shape.shared_bytes, " bytes a block, of ",
           cuda.device.shared_bytes,
           "). Attention needs most: leave it to cuDNN (run.attention_library = \"auto\", no attention dropout, no "
           "document masks), or use smaller heads.");
}

/// Puts a kernel on the stream; the one way in which kernels are launched. Nothing happens without blocks.
template <class... Params, class... Args>
void launch_kernel(Cuda const& cuda, Launch const& shape, void (*kernel)(Params...), Args const&... args) {
  if (shape.blocks.x == 0 || shape.blocks.y == 0) return;
  expect_shared_memory(cuda, shape);
  cudaLaunchConfig_t config{};
  config.gridDim = shape.blocks;
  config.blockDim = shape.threads;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = cuda.stream;
  if (shape.shared_bytes > 48 << 10)
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)));
  CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...));
}

}  // namespace selenite
