#pragma once
#include "core/config.hpp"
#include "core/machine.hpp"
#include "exec/ctx.hpp"

namespace selenite {

/// How long each operation is measured, and what counts: the fastest of a few runs, or the mean. They differ where a
/// processor holds its full clock for a moment only (matrix units: half a second, then less than half of it).
struct Effort {
  double seconds = 0.06;
  bool mean = false;
};

/// This machine as the kernels see it, measured in about a second: GEMM and attention rates at the sizes that the model
/// has, streaming rate by size, and links between the ranks. All ranks call it together and get the same figures (the
/// mean), since they share the machine while training too. The peak is the best GEMM rate over the model's shapes.
Machine measure_machine(Config const& config, Comm& comm, ProcessGrid const& grid, Executor& executor,
                        Effort effort = {});

/// The same for no model in particular, in fp32 and bf16, over a range of sizes: for a machine file, so that many runs
/// are held against the same figures: means, of linear layers' three products with operands that are not in the caches,
/// of norms and activations, and of collectives by size. Takes ten to twenty seconds.
Machine calibrate_machine(Comm& comm, ProcessGrid const& grid, std::int64_t workspace, Executor& executor);

/// The machine that the config names: a file, or measured when "auto".
Machine find_machine(Config const& config, Comm& comm, ProcessGrid const& grid, Executor& executor);

}  // namespace selenite
