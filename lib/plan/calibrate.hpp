#pragma once
#include "core/config.hpp"
#include "core/machine.hpp"
#include "exec/ctx.hpp"

namespace selenite {

/// This machine as the kernels see it, measured in about a second: GEMM and attention rates at the sizes that the model has,
/// streaming rate by size, and links between the ranks. All ranks call it together and get the same figures (the mean), since
/// they share the machine while training too. The peak is the best GEMM rate over the model's shapes.
Machine measure_machine(Config const& config, Comm& comm, ProcessGrid const& grid);

/// The machine that the config names: a file, or measured when "auto".
Machine find_machine(Config const& config, Comm& comm, ProcessGrid const& grid);

}  // namespace selenite
