#pragma once
#include <initializer_list>
#include <span>

#include "core/attention_library.hpp"
#include "core/cpu.hpp"
#include "core/parallel_for.hpp"

namespace selenite::test {

/// What the tables' operations are launched on: the cores of this machine.
struct Backend {
  static constexpr std::initializer_list<AttentionLibrary> attention_libraries{AttentionLibrary::own};
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
};

}  // namespace selenite::test
