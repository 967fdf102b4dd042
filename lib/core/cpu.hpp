#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/kernel.hpp"

namespace selenite {

/// What a CPU launch gets besides its arguments, and what it counts.
class Cpu {
 public:
  /// Scratch of at least workspace(op, budget) bytes, 256-byte aligned; set by whoever launches.
  std::span<std::byte> workspace;
  /// FLOPs from the sizes handed to the library or executed by our loops, never from cost().
  double flops = 0;
};

}  // namespace selenite
