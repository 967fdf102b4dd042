#pragma once
#include <span>

#include "core/cuda.hpp"
#include "tests/shim/block.hpp"

namespace selenite::test {

/// What the tables' operations are launched on: the CUDA kernels, on the host.
struct Backend {
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
    launch(cuda, op);
    return cuda.flops;
  }
};

}  // namespace selenite::test
