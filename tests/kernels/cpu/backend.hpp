#pragma once
#include <cstring>
#include <initializer_list>
#include <span>

#include "core/attention_library.hpp"
#include "core/cpu.hpp"
#include "core/parallel_for.hpp"
#include "core/tensor.hpp"

namespace selenite::test {

/// What the tables' operations are launched on: the cores of this machine.
struct Backend {
  static constexpr std::initializer_list<AttentionLibrary> attention_libraries{AttentionLibrary::own};
  static double fp8_sum_length(std::int64_t k) { return static_cast<double>(k); }  ///< as exact as those of fp32
  static constexpr double roundings_before_bias = 0;
  /// Of bf16 and fp16 a case of attention, which differ in one instruction.
  static constexpr bool one_16_bit_type = false;
  static constexpr bool any_fp8_size = true;  ///< products of 8 bits of any size
  /// Threads of the launches from now on; 0: as many as there are cores.
  static void set_team(int threads) { set_threads(threads); }
  /// FLOPs that the launch counted.
  template <class Op>
  static double run(std::span<std::byte> workspace, Op const& op) {
    Cpu cpu;
    cpu.workspace = workspace;
    launch(cpu, op);
    return cpu.flops;
  }

  // for speed
  static constexpr std::int64_t gemm_side = 2048, copied = 64 << 20;
  static constexpr std::int64_t speed_tokens = 4096, speed_hidden = 768, speed_wide_tokens = 4096;
  template <class Op>
  static void start(std::span<std::byte> workspace, Op const& op) {
    run(workspace, op);
  }
  static void finish() {}
  static void copy(Tensor const& from, Tensor const& to) {
    parallel_for(from.count(), 1 << 20, [&](std::int64_t first, std::int64_t last) {
      std::memcpy(to.data<float>() + first, from.data<float>() + first, static_cast<std::size_t>(last - first) * 4);
    });
  }
};

}  // namespace selenite::test
