#pragma once
#include <concepts>
#include <cstdint>

#include "core/cost.hpp"

namespace selenite {

class Cpu;   ///< the CPU backend's state, core/cpu.hpp
class Cuda;  ///< the CUDA backend's state, known to *_cuda.cu and lib/exec only

/// An operation that runs: arguments in a struct, and beside it, found by argument-dependent lookup,
///   launch(Cpu&, op), launch(Cuda&, op)   run it
///   cost(op)                              what it costs, from shapes alone
///   workspace(op, budget)                 bytes of scratch that a launch needs, at most `budget`; pure, asks no
///   library reference(op)                         the same in plain loops in double, the oracle of the tests
template <class Op>
concept Kernel = requires(Op const& op, Cpu& cpu, Cuda& cuda, std::int64_t budget) {
  launch(cpu, op);
  launch(cuda, op);
  reference(op);
  { cost(op) } -> std::same_as<Cost>;
  { workspace(op, budget) } -> std::same_as<std::int64_t>;
};

/// Before the first step, with the shapes of a launch to come and cuda.workspace as large as then (both may be without
/// memory): what takes seconds, such as a library's plans, is made here once. Operations that have such define their
/// own.
template <class Op>
void prepare(Cuda&, Op const&) {}

}  // namespace selenite
