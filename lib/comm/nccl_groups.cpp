#include "comm/nccl_groups.hpp"

#include <algorithm>

#include "comm/comm.hpp"

namespace selenite {
namespace {

constexpr Channel channels[] = {Channel::forward, Channel::backward, Channel::tied};

/// The stage that gets what stage `s` of n sends on the channel: the pipeline is a ring, as chunks go round it.
std::int64_t receiver(Channel channel, std::int64_t s, std::int64_t n) {
  return channel == Channel::forward ? (s + 1) % n : channel == Channel::backward ? (s + n - 1) % n : n - 1 - s;
}
/// Links of a channel are made in rounds, in each of which a rank has one at most: nobody waits in a circle.
constexpr int rounds = 3;
int round_of(Channel channel, std::int64_t s, std::int64_t n) {
  if (channel == Channel::tied) return s == 0 ? 0 : s == n - 1 ? 1 : rounds;
  return n % 2 == 1 && s == n - 1 ? 2 : static_cast<int>(s % 2);
}

constexpr AxisSet replicas{Axis::context, Axis::expert, Axis::data};
/// Those that collectives of a training, its evaluation and the measurement of a machine name. The fourth: scales in 8
/// bits.
constexpr AxisSet groups_used[] = {{Axis::tensor},
                                   {Axis::context},
                                   replicas,
                                   replicas.with(Axis::tensor),
                                   replicas.with(Axis::pipe),
                                   {Axis::tensor, Axis::pipe},
                                   AxisSet::all()};

/// The ranks of the link of this round that this rank has: the sender, then the receiver.
std::vector<Rank> link_members(ProcessGrid const& grid, Rank rank, Channel channel, int round) {
  std::vector<Rank> const stages = grid.group(rank, {Axis::pipe});
  auto const n = static_cast<std::int64_t>(stages.size());
  for (std::int64_t s = 0; s < n && n > 1; ++s) {
    if (round_of(channel, s, n) != round) continue;
    Rank const from = stages[static_cast<std::size_t>(s)],
               to = stages[static_cast<std::size_t>(receiver(channel, s, n))];
    if (rank == from || rank == to) return {from, to};
  }
  return {};
}

}  // namespace

AxisSet significant(ProcessGrid const& grid, AxisSet axes) {
  AxisSet s = axes;
  for (Axis a : {Axis::tensor, Axis::context, Axis::expert, Axis::data, Axis::pipe})
    if (grid.size(a) == 1) s = s.without(a);
  return s;
}

std::vector<NcclGroup> nccl_groups(ProcessGrid const& grid, Rank rank) {
  std::vector<NcclGroup> all;
  for (AxisSet const used : groups_used) {
    AxisSet const axes = significant(grid, used);
    bool const known = std::ranges::any_of(all, [&](NcclGroup const& g) { return g.group == axes; });
    if (axes.empty() || known) continue;
    all.push_back({"group over " + to_string(axes), grid.group(rank, axes), axes, {}});
  }
  for (Channel const channel : channels)
    for (int round = 0; round < rounds; ++round)
      all.push_back({concat("messages of the ", name(channel), " channel"),
                     link_members(grid, rank, channel, round),
                     {},
                     channel});
  return all;
}

/// NCCL's buffers, which it takes beside the plan when a communicator is first used. A channel has, for each rank that
/// it receives from, a buffer of each protocol: Simple's is NCCL_BUFFSIZE (4 MiB unless set, NCCL's documentation),
/// those of LL and LL128 follow from its constants (0.5 and 4.7 MiB). A ring receives from one rank and a tree from up
/// to three, of which two are counted. How many channels there are NCCL decides by the machine: up to 24 over NVLink
/// are counted, for messages as many as the blocks that they may have. An estimate on the high side: no machine was at
/// hand to measure it on.
std::int64_t nccl_memory(ProcessGrid const& grid, Rank rank) {
  constexpr std::int64_t mib = 1 << 20, buffers = 4 * mib + mib / 2 + 47 * mib / 10, channels_of_group = 24,
                         senders_of_group = 3;
  std::int64_t bytes = 0;
  for (NcclGroup const& g : nccl_groups(grid, rank)) {
    if (g.members.empty()) continue;
    std::int64_t const senders = std::min(senders_of_group, std::ssize(g.members) - 1);
    bytes += buffers * (g.channel ? nccl_link_blocks : channels_of_group * senders);
  }
  return bytes;
}

}  // namespace selenite
