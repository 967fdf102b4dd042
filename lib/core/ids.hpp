#pragma once
#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>

namespace selenite {

/// An int of one kind that does not convert to another kind.
template <class Tag>
class Id {
 public:
  constexpr Id() = default;
  constexpr explicit Id(std::int64_t value) : value_(value) {}
  constexpr std::int64_t operator*() const { return value_; }
  constexpr auto operator<=>(Id const&) const = default;
  constexpr Id& operator++() {
    ++value_;
    return *this;
  }
  friend std::ostream& operator<<(std::ostream& out, Id id) { return out << id.value_; }

 private:
  std::int64_t value_ = 0;
};

using Rank = Id<struct RankTag>;      ///< a process (or thread rank) of the world
using Stage = Id<struct StageTag>;    ///< a pipeline stage: 0 .. pipe-1
using Chunk = Id<struct ChunkTag>;    ///< a model chunk of a stage: 0 .. interleave-1
using Micro = Id<struct MicroTag>;    ///< a micro-batch of a step
using LayerId = Id<struct LayerTag>;  ///< a transformer layer of the whole model

}  // namespace selenite
