#pragma once
#include <array>
#include <concepts>
#include <numeric>

#include "core/cost.hpp"
#include "core/grid.hpp"
#include "core/tensor.hpp"

namespace selenite {

enum class Reduction : std::uint8_t { sum, max };

/// data = reduction of all ranks' data, in place. Sums are added in rank order in fp32 (fp64 for fp64), so that the
/// result has the same bits on all ranks, in every run and on every backend; but NCCL adds in an order of its own, and
/// 16-bit sums in 16 bits.
struct AllReduce {
  Tensor data;  ///< contiguous; fp32, fp64, bf16 or fp16
  AxisSet group;
  Reduction reduction = Reduction::sum;
};
/// output = the inputs of all ranks, one after the other in group order.
struct AllGather {
  Tensor input, output;  ///< contiguous; output holds group-size times the input's elements
  AxisSet group;
};
/// output = this rank's piece of the sum of all inputs; the pieces are equal and in group order.
struct ReduceScatter {
  Tensor input, output;  ///< contiguous; input holds group-size times the output's elements
  AxisSet group;
};
/// data of the group's rank `root` (an index in the group) goes to all.
struct Broadcast {
  Tensor data;
  AxisSet group;
  std::int64_t root = 0;
};
/// Every rank's `send` goes to the next rank in group order, `recv` comes from the one before; returns when both are
/// done.
struct RingShift {
  Tensor send, recv;  ///< contiguous, of equal size on all ranks; not the same memory
  AxisSet group;
};

/// Messages of one channel never wait for those of another.
enum class Channel : std::uint8_t { forward, backward, tied };
constexpr std::size_t channel_count = 3;
constexpr std::string_view name(Channel channel) {
  return channel == Channel::forward ? "forward" : channel == Channel::backward ? "backward" : "tied";
}

/// Starts sending and returns; `data` must stay untouched until Comm::finish(channel).
struct Send {
  Tensor data;  ///< contiguous
  Rank to;
  Channel channel = Channel::forward;
  std::int64_t tag = 0;  ///< 0 or more; messages of equal peer, channel and tag arrive in the order sent
};
/// Returns when the message of this sender, channel and tag is in `data`, whatever else was sent before it.
struct Recv {
  Tensor data;  ///< contiguous, of the sender's size
  Rank from;
  Channel channel = Channel::forward;
  std::int64_t tag = 0;
};

/// Cost::bytes is the size of the whole message: of the reduced or gathered tensor. A ring shift sends and receives at
/// once and costs one message.
Cost cost(AllReduce const& op);
Cost cost(AllGather const& op);
Cost cost(ReduceScatter const& op);
Cost cost(Broadcast const& op);
Cost cost(RingShift const& op);
Cost cost(Send const& op);
Cost cost(Recv const& op);

/// Bytes that the rank at `index` of a group of n ranks hands to the transport: to each other rank its piece of what is
/// reduced, and its own piece (the result, or its input) to each; of a broadcast the data once, by the root.
std::int64_t sent_bytes(AllReduce const& op, std::int64_t n, std::int64_t index);
std::int64_t sent_bytes(AllGather const& op, std::int64_t n, std::int64_t index);
std::int64_t sent_bytes(ReduceScatter const& op, std::int64_t n, std::int64_t index);
std::int64_t sent_bytes(Broadcast const& op, std::int64_t n, std::int64_t index);
std::int64_t sent_bytes(RingShift const& op, std::int64_t n, std::int64_t index);
std::int64_t sent_bytes(Send const& op);
std::int64_t sent_bytes(Recv const& op);

/// Bytes that one rank has handed to the transport: by the axes of the group, as the operations name it, and by
/// channel.
class SentBytes {
 public:
  std::int64_t& operator[](AxisSet group) { return groups_[group.bits()]; }
  std::int64_t& operator[](Channel channel) { return channels_[static_cast<std::size_t>(channel)]; }
  std::int64_t operator[](AxisSet group) const { return groups_[group.bits()]; }
  std::int64_t operator[](Channel channel) const { return channels_[static_cast<std::size_t>(channel)]; }
  std::int64_t total() const {
    return std::accumulate(groups_.begin(), groups_.end(),
                           std::accumulate(channels_.begin(), channels_.end(), std::int64_t{0}));
  }
  /// Adds another count, `times` over.
  void add(SentBytes const& other, std::int64_t times) {
    for (std::size_t i = 0; i < groups_.size(); ++i) groups_[i] += other.groups_[i] * times;
    for (std::size_t i = 0; i < channels_.size(); ++i) channels_[i] += other.channels_[i] * times;
  }
  bool operator==(SentBytes const&) const = default;

 private:
  std::array<std::int64_t, 1u << axis_count> groups_{};
  std::array<std::int64_t, channel_count> channels_{};
};

template <class Op>
concept Collective = requires(Op const& op) {
  { cost(op) } -> std::same_as<Cost>;
  { sent_bytes(op, std::int64_t{}, std::int64_t{}) } -> std::same_as<std::int64_t>;
  { op.group } -> std::convertible_to<AxisSet>;
};
static_assert(Collective<AllReduce> && Collective<AllGather> && Collective<ReduceScatter> && Collective<Broadcast> &&
              Collective<RingShift>);

template <class Op>
concept PointToPoint = requires(Op const& op) {
  { cost(op) } -> std::same_as<Cost>;
  { sent_bytes(op) } -> std::same_as<std::int64_t>;
  { op.channel } -> std::convertible_to<Channel>;
  { op.tag } -> std::convertible_to<std::int64_t>;
};
static_assert(PointToPoint<Send> && PointToPoint<Recv>);

}  // namespace selenite
