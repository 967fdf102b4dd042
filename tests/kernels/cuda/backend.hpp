#pragma once
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <span>

#include "core/attention_library.hpp"
#include "exec/cuda_lanes.hpp"
#include "kernels/cast/cast.hpp"

namespace selenite::test {

// memory.cpp
void skip_without_device();
void share_memory_with_device();

/// What the tables' operations are launched on: a CUDA device, which reads and writes the tests' own memory
/// (memory.cpp).
struct Backend {
  static constexpr std::initializer_list<AttentionLibrary> attention_libraries{
      AttentionLibrary::own, AttentionLibrary::own_sm80, AttentionLibrary::automatic};
  /// Of bf16 and fp16 a case of attention, which differ in one instruction.
  static constexpr bool one_16_bit_type = false;
  static constexpr bool any_fp8_size = false;  ///< products of 8 bits of any size, not of whole 16 elements alone
  /// Sums of 8-bit products, as roundings of fp32: a step of 32 terms in Hopper's tensor cores keeps about 13 bits
  /// behind the point (DeepSeek-V3, section 3.3.2), and what they lose adds up as a random walk does.
  static double fp8_sum_length(std::int64_t k) { return 4096 * std::sqrt(std::max(1.0, static_cast<double>(k) / 32)); }
  static constexpr double roundings_before_bias = 1;  ///< of cuBLASLt, to the output's dtype
  static void set_team(int) {}
  template <class Op>
  static double run(std::span<std::byte> workspace, Op const& op) {
    Cuda& cuda = lanes().cuda();
    cuda.flops = 0;
    start(workspace, op);
    finish();
    return cuda.flops;
  }

  // for speed
  static constexpr std::int64_t gemm_side = 8192, copied = 256 << 20;
  static constexpr std::int64_t speed_tokens = 32768, speed_hidden = 2048,
                                speed_wide_tokens = 8192;  ///< more than caches hold
  template <class Op>
  static void start(std::span<std::byte> workspace, Op const& op) {
    Cuda& cuda = lanes().cuda();
    share_memory_with_device();
    cuda.workspace = workspace;
    launch(cuda, op);
  }
  static void finish() { lanes().synchronize(); }
  static void copy(Tensor const& from, Tensor const& to) { start({}, Cast{.x = from, .y = to}); }

 private:
  static CudaLanes& lanes() {
    static CudaLanes lanes((skip_without_device(), 0));
    return lanes;
  }
};

}  // namespace selenite::test
