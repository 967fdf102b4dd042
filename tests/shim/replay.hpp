#pragma once
#include <string>
#include <vector>

#include "tests/shim/nccl.hpp"

namespace selenite::shim {

/// Plays what the ranks' hosts have asked for as devices would do it: streams go on beside each other, hosts run ahead,
/// a send waits for its receiver, and the operations of a communicator come one after the other in the order in which
/// the host gave them. Names, for each rank that does not get to its end, the transfer it stays in; empty if all do.
std::string find_deadlock(std::vector<NcclLog> const& logs);

}  // namespace selenite::shim
