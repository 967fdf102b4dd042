#pragma once
#include <optional>
#include <string>
#include <vector>

#include "comm/collectives.hpp"
#include "core/grid.hpp"

// Which communicators of NCCL a rank has; private to lib/comm.

namespace selenite {

/// A communicator to make, and what it is for; without members where this rank has no part in it.
struct NcclGroup {
  std::string name;
  std::vector<Rank> members;
  AxisSet group;
  std::optional<Channel> channel;  ///< of messages from the first member to the second
};
/// The same list, but for the members, on every rank.
std::vector<NcclGroup> nccl_groups(ProcessGrid const& grid, Rank rank);

/// Without axes of one rank: what groups are known by.
AxisSet significant(ProcessGrid const& grid, AxisSet axes);

/// A waiting send holds multiprocessors that compute could have.
constexpr int nccl_link_blocks = 4;

}  // namespace selenite
