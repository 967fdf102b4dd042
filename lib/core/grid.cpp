#include "core/grid.hpp"

#include "core/config.hpp"
#include "core/error.hpp"

namespace selenite {
namespace {
constexpr std::array<char const*, axis_count> names{"tensor", "context", "expert", "data", "pipe"};
constexpr std::array<Axis, axis_count> axes_in_order{Axis::tensor, Axis::context, Axis::expert, Axis::data, Axis::pipe};
}  // namespace

char const* name(Axis axis) { return names[static_cast<std::size_t>(axis)]; }

std::string to_string(AxisSet axes) {
  std::string text;
  for (Axis a : axes_in_order)
    if (axes.has(a)) text += (text.empty() ? "" : "+") + std::string(name(a));
  return text;
}

ProcessGrid::ProcessGrid(Coords sizes) : sizes_(sizes) {
  for (Axis a : axes_in_order)
    validate(size(a) >= 1, "layout.", name(a), " = ", size(a),
             " is not a size (an axis has at least one rank). Use 1 or more.");
}

std::int64_t ProcessGrid::size(AxisSet axes) const {
  std::int64_t n = 1;
  for (Axis a : axes_in_order)
    if (axes.has(a)) n *= size(a);
  return n;
}

Coords ProcessGrid::coords(Rank rank) const {
  Coords c{};
  std::int64_t rest = *rank;
  for (std::size_t i = 0; i < c.size(); ++i) c[i] = rest % sizes_[i], rest /= sizes_[i];
  return c;
}

Rank ProcessGrid::rank(Coords const& coords) const {
  std::int64_t r = 0;
  for (std::size_t i = coords.size(); i-- > 0;) r = r * sizes_[i] + coords[i];
  return Rank(r);
}

std::vector<Rank> ProcessGrid::group(Rank rank, AxisSet axes) const {
  Coords c = coords(rank);
  std::vector<Rank> ranks;
  ranks.reserve(static_cast<std::size_t>(size(axes)));
  for (std::int64_t i = 0, n = size(axes); i < n; ++i) {
    std::int64_t rest = i;
    for (Axis a : axes_in_order)
      if (axes.has(a)) c[static_cast<std::size_t>(a)] = rest % size(a), rest /= size(a);
    ranks.push_back(this->rank(c));
  }
  return ranks;
}

std::int64_t ProcessGrid::index_in_group(Rank rank, AxisSet axes) const {
  Coords const c = coords(rank);
  std::int64_t index = 0, stride = 1;
  for (Axis a : axes_in_order)
    if (axes.has(a)) index += c[static_cast<std::size_t>(a)] * stride, stride *= size(a);
  return index;
}

std::pair<Rank, Rank> ProcessGrid::ends(Rank rank) const {
  Coords first = coords(rank), last = first;
  first[static_cast<std::size_t>(Axis::pipe)] = 0;
  last[static_cast<std::size_t>(Axis::pipe)] = size(Axis::pipe) - 1;
  return {this->rank(first), this->rank(last)};
}

std::string describe(ProcessGrid const& grid, Rank rank) {
  std::string text;
  for (Axis a : axes_in_order)
    if (grid.size(a) > 1) text += concat(text.empty() ? "" : " ", name(a), " ", grid.coord(rank, a));
  return text;
}

std::vector<AxisSet> AxisSet::subsets() {
  std::vector<AxisSet> list;
  for (unsigned bits = 1; bits < 1u << axis_count; ++bits) {
    AxisSet set;
    set.bits_ = bits;
    list.push_back(set);
  }
  return list;
}

ProcessGrid make_grid(LayoutConfig const& l) { return ProcessGrid({l.tensor, l.context, l.expert, l.data, l.pipe}); }

}  // namespace selenite
