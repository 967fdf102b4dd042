#pragma once
#include <cstdint>

#include "comm/comm.hpp"
#include "core/config.hpp"
#include "train/stage.hpp"

// Before a run takes any memory. For all ranks; each throws Error where its machine or device has less than is needed.

namespace selenite {

/// The plans of this machine's ranks fit into its memory.
void require_room(Config const& config, Footprint const& needed, Comm& comm);
/// The plans of this rank and of those that share its device fit into that one's memory.
void require_device_room(Config const& config, Footprint const& needed, Comm& comm, int device);
/// Of `free` bytes of this machine's memory its ranks need `held` each, and `copied` more when they save.
void require_room_to_save(std::int64_t free, std::int64_t held, std::int64_t copied, Comm& comm);

}  // namespace selenite
