#pragma once
#include <initializer_list>
#include <span>

#include "core/attention_library.hpp"
#include "core/cuda.hpp"
#include "kernels/cast/cast.hpp"
#include "tests/shim/block.hpp"

namespace selenite::test {

/// What the tables' operations are launched on: the CUDA kernels, on the host.
struct Backend {
  static constexpr std::initializer_list<AttentionLibrary> attention_libraries{
      AttentionLibrary::own, AttentionLibrary::own_sm80};                          // cudnn_shim_test has the other
  static double fp8_sum_length(std::int64_t k) { return static_cast<double>(k); }  ///< as exact as those of fp32
  static constexpr double roundings_before_bias = 0;
  /// Of bf16 and fp16 a case of attention, which differ in one instruction.
  static constexpr bool one_16_bit_type = true;
  static constexpr bool any_fp8_size = false;  ///< products of 8 bits of any size, not of whole 16 elements alone
  /// Teams are orders of threads, warps and blocks: 1 forward, 2 and 3 reverse, 5 shuffled.
  static void set_team(int team) {
    using shim::Order;
    shim::set_order(team == 5 ? Order::shuffled : team == 2 || team == 3 ? Order::reverse : Order::forward);
  }
  template <class Op>
  static double run(std::span<std::byte> workspace, Op const& op) {
    Cuda cuda;
    cuda.workspace = workspace;
    cuda.device.cache_bytes = 64 << 10;  // so little that attention's heads come in sections
    launch(cuda, op);
    return cuda.flops;
  }

  // for speed, which the shim does not have: it counts what its kernels do
  static constexpr std::int64_t gemm_side = 256, copied = 1 << 20;
  static constexpr std::int64_t speed_tokens = 4096, speed_hidden = 768, speed_wide_tokens = 4096;
  template <class Op>
  static void start(std::span<std::byte> workspace, Op const& op) {
    run(workspace, op);
  }
  static void finish() {}
  static void copy(Tensor const& from, Tensor const& to) { run({}, Cast{.x = from, .y = to}); }
};

}  // namespace selenite::test
