#include "comm/calls.hpp"

#include "core/error.hpp"

namespace selenite {
namespace {

constexpr std::array<char const*, 11> names{"",          "all-reduce", "all-gather", "reduce-scatter",
                                            "broadcast", "ring shift", "send",       "recv",
                                            "finish",    "control",    "connect"};

}  // namespace

std::string to_string(Call const& call) {
  std::string const name = names[static_cast<std::size_t>(call.kind)];
  switch (call.kind) {
    case Call::Kind::send:
      return concat(name, " to rank ", call.peer);
    case Call::Kind::recv:
      return concat(name, " from rank ", call.peer);
    case Call::Kind::finish:
      return concat(name, " of ", selenite::name(call.channel), " messages");
    case Call::Kind::control:
      return "an agreement of all ranks";
    case Call::Kind::connect:
      return "the making of communicators";
    default:
      return concat(name, " over ", to_string(call.group));
  }
}

std::uint64_t packed(Call const& call) {
  return static_cast<std::uint64_t>(call.kind) | std::uint64_t{call.group.bits()} << 8 |
         static_cast<std::uint64_t>(call.channel) << 16 | static_cast<std::uint64_t>(*call.peer) << 32;
}

Call unpacked(std::uint64_t word) {
  AxisSet group;
  for (int a = 0; a < axis_count; ++a)
    if (word >> (8 + a) & 1u) group = group.with(static_cast<Axis>(a));
  return {.kind = static_cast<Call::Kind>(word & 0xff),
          .group = group,
          .channel = static_cast<Channel>(word >> 16 & 0xff),
          .peer = Rank(static_cast<std::int64_t>(word >> 32))};
}

Calls::Scope::Scope(Calls& calls, Call const& call) : calls_(calls) {
  calls_.count_.fetch_add(1, std::memory_order_relaxed);
  std::uint64_t const word = packed(call);
  for (auto& place : calls_.inside_) {
    std::uint64_t empty = 0;
    if (!place.compare_exchange_strong(empty, word, std::memory_order_relaxed)) continue;
    place_ = &place;
    return;
  }
}

Calls::Scope::~Scope() {
  if (place_) place_->store(0, std::memory_order_relaxed);
  calls_.count_.fetch_add(1, std::memory_order_relaxed);
}

std::optional<Call> Calls::current() const {
  for (auto const& place : inside_)
    if (std::uint64_t const word = place.load(std::memory_order_relaxed)) return unpacked(word);
  return std::nullopt;
}

}  // namespace selenite
