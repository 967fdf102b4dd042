#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "core/ids.hpp"

namespace selenite {

/// The parallel axes, in the order in which they vary over ranks, fastest first.
enum class Axis : std::uint8_t { tensor, context, expert, data, pipe };
constexpr int axis_count = 5;
char const* name(Axis axis);

/// A set of axes; a group of ranks is what differs in these coordinates only.
class AxisSet {
 public:
  constexpr AxisSet() = default;
  constexpr AxisSet(std::initializer_list<Axis> axes) {
    for (Axis a : axes) bits_ |= 1u << static_cast<unsigned>(a);
  }
  /// Every set but the empty one.
  static std::vector<AxisSet> subsets();
  static constexpr AxisSet all() {
    AxisSet s;
    s.bits_ = (1u << axis_count) - 1;
    return s;
  }
  constexpr bool has(Axis axis) const { return bits_ >> static_cast<unsigned>(axis) & 1u; }
  constexpr AxisSet with(Axis axis) const {
    AxisSet s = *this;
    s.bits_ |= 1u << static_cast<unsigned>(axis);
    return s;
  }
  constexpr AxisSet without(Axis axis) const {
    AxisSet s = *this;
    s.bits_ &= ~(1u << static_cast<unsigned>(axis));
    return s;
  }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr unsigned bits() const { return bits_; }
  constexpr bool operator==(AxisSet const&) const = default;

 private:
  unsigned bits_ = 0;
};
std::string to_string(AxisSet axes);  ///< "context+data"

using Coords = std::array<std::int64_t, axis_count>;  ///< a rank's coordinate on every axis

/// The arrangement of ranks on the axes: pure arithmetic for any world size, on any machine.
/// world = tensor * context * expert * data * pipe.
class ProcessGrid {
 public:
  ProcessGrid() : ProcessGrid(Coords{1, 1, 1, 1, 1}) {}
  explicit ProcessGrid(Coords sizes);  ///< in the order of Axis
  std::int64_t size(Axis axis) const { return sizes_[static_cast<std::size_t>(axis)]; }
  std::int64_t size(AxisSet axes) const;
  std::int64_t world() const { return size(AxisSet::all()); }
  Coords coords(Rank rank) const;
  std::int64_t coord(Rank rank, Axis axis) const { return coords(rank)[static_cast<std::size_t>(axis)]; }
  Rank rank(Coords const& coords) const;
  /// The ranks that share all coordinates of `rank` but those on `axes`, in rank order; `rank` is among them.
  std::vector<Rank> group(Rank rank, AxisSet axes) const;
  /// The place of `rank` in group(rank, axes).
  std::int64_t index_in_group(Rank rank, AxisSet axes) const;
  /// The ranks of first and last pipeline stage with the other coordinates of `rank` (tied embeddings).
  std::pair<Rank, Rank> ends(Rank rank) const;

 private:
  Coords sizes_;
};
struct LayoutConfig;
/// The grid of a layout whose data ranks are known.
ProcessGrid make_grid(LayoutConfig const& layout);

/// Where token `index` of the `count` that a context rank holds lies in the sequence: rank r of n holds chunks r and
/// 2n - 1 - r of 2n, so that under a causal mask all ranks have equal work. With one rank: index.
constexpr std::int64_t zigzag_place(std::int64_t index, std::int64_t count, std::int64_t ranks, std::int64_t rank) {
  std::int64_t const chunk = count / 2;
  if (ranks == 1) return index;
  return index < chunk ? rank * chunk + index : (2 * ranks - 1 - rank) * chunk + index - chunk;
}
/// "data 1 tensor 5 pipe 0": the coordinates on axes longer than one, for messages.
std::string describe(ProcessGrid const& grid, Rank rank);

}  // namespace selenite
