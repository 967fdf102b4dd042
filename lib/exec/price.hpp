#pragma once
#include "core/cost.hpp"
#include "core/machine.hpp"

namespace selenite {

/// How a group of ranks lies on the nodes, seen from one of them: ranks are placed in order, node after node, and every
/// node that the group touches is taken to hold as many of it.
struct Placement {
  std::int64_t ranks = 1;
  std::int64_t in_node = 1;  ///< ranks of the group on this rank's node
  std::int64_t nodes() const { return (ranks + in_node - 1) / in_node; }
};
/// Zero ranks a node: all on one.
Placement place(ProcessGrid const& grid, Rank rank, AxisSet group, std::int64_t ranks_per_node);

/// Seconds that work of this cost takes a rank on this machine. The grid's other groups of the same axes are taken to
/// do the same at the same time, so those on one node share its network.
///
/// GEMM on a Processor: launch + max(tiles, inputs / memory) + exposure x results / memory. Tiles: those of the best of
/// a few shapes, in waves over the multiprocessors, of which the last counts in full to the part wave_tail.
/// Collectives (nccl-tests' bandwidth factors, NCCL's steps): ring all-reduce 2 (n - 1) steps and 2 (n - 1) / n of the
/// message, or a tree's 2 log2 steps and twice the message, whichever is faster; reduce-scatter and all-gather half of
/// the ring.
/// Messages whose links the machine has no figures of cost nothing.
double price(Cost const& cost, Machine const& machine, ProcessGrid const& grid, Rank rank);

/// Whether the machine has the figures that messages between so many ranks need.
bool knows_links(Machine const& machine, std::int64_t ranks);
/// Throws Error that names the figure if it has not.
void require_links(Machine const& machine, std::int64_t ranks);

}  // namespace selenite
