#pragma once
#include <cstdio>
#include <cstdlib>
#include <span>

#include "exec/cuda_lanes.hpp"

namespace selenite::test {

/// What the tables' operations are launched on: a CUDA device, which reads and writes the tests' pinned memory
/// (memory.cpp).
struct Backend {
  static constexpr bool any_fp8_size = false;  ///< products of 8 bits of any size, not of whole 16 elements alone
  static void set_team(int) {}
  template <class Op>
  static double run(std::span<std::byte> workspace, Op const& op) {
    Cuda& cuda = lanes().cuda();
    cuda.workspace = workspace, cuda.flops = 0;
    launch(cuda, op);
    lanes().synchronize();
    return cuda.flops;
  }

 private:
  static CudaLanes& lanes() {
    static CudaLanes lanes(0);
    return lanes;
  }
};

}  // namespace selenite::test
