#pragma once
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <span>

#include "core/attention_library.hpp"
#include "exec/cuda_lanes.hpp"
#include "kernels/cast/cast.hpp"

namespace selenite::test {

/// What the tables' operations are launched on: a CUDA device, which reads and writes the tests' own memory
/// (memory.cpp).
struct Backend {
  static constexpr std::initializer_list<AttentionLibrary> attention_libraries{AttentionLibrary::own,
                                                                               AttentionLibrary::automatic};
  static constexpr bool any_fp8_size = false;  ///< products of 8 bits of any size, not of whole 16 elements alone
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
  static constexpr std::int64_t gemm_side = 4096, copied = 64 << 20;
  template <class Op>
  static void start(std::span<std::byte> workspace, Op const& op) {
    lanes().cuda().workspace = workspace;
    launch(lanes().cuda(), op);
  }
  static void finish() { lanes().synchronize(); }
  static void copy(Tensor const& from, Tensor const& to) { start({}, Cast{.x = from, .y = to}); }

 private:
  static CudaLanes& lanes() {
    static CudaLanes lanes(0);
    return lanes;
  }
};

}  // namespace selenite::test
