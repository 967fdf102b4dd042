#pragma once
#include <optional>
#include <string>
#include <vector>

#include "comm/comm.hpp"
#include "core/config.hpp"
#include "exec/cuda_lanes.hpp"

namespace selenite {

/// Which of the devices that it sees each rank of a machine takes, by their identities (`visible`, a list a rank): the
/// first that no rank before it has; none if there is no such.
std::vector<std::optional<int>> spread_over_devices(std::vector<std::vector<std::string>> const& visible);

/// This rank's cores or, for the CUDA backend, one of the machine's devices: launchers show all devices to each rank,
/// or each its own as number 0; threads of one process share those that there are. For all ranks. Throws Error where
/// there are more ranks than devices, and as open_cuda_device does.
Executor choose_executor(RunConfig const& run, Comm& comm);

}  // namespace selenite
