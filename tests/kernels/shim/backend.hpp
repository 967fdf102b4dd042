#pragma once
#include <initializer_list>
#include <span>

#include "core/attention_library.hpp"
#include "core/cuda.hpp"
#include "tests/shim/block.hpp"

namespace selenite::test {

/// What the tables' operations are launched on: the CUDA kernels, on the host.
struct Backend {
  static constexpr std::initializer_list<AttentionLibrary> attention_libraries{
      AttentionLibrary::own};  // cudnn_shim_test has the other
  /// Teams are orders of threads, warps and blocks: 1 forward, 2 and 3 reverse, 5 shuffled.
  static void set_team(int team) {
    using shim::Order;
    shim::set_order(team == 5 ? Order::shuffled : team == 2 || team == 3 ? Order::reverse : Order::forward);
  }
  template <class Op>
  static double run(std::span<std::byte> workspace, Op const& op) {
    Cuda cuda;
    cuda.workspace = workspace;
    launch(cuda, op);
    return cuda.flops;
  }
};

}  // namespace selenite::test
