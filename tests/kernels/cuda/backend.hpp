#pragma once
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <span>

#include "core/attention_library.hpp"
#include "exec/cuda_lanes.hpp"

namespace selenite::test {

/// What the tables' operations are launched on: a CUDA device, which reads and writes the memory of the tests
/// (memory.cpp).
struct Backend {
  static constexpr std::initializer_list<AttentionLibrary> attention_libraries{AttentionLibrary::own,
                                                                               AttentionLibrary::automatic};
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
