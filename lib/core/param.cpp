#include "core/param.hpp"

namespace selenite {

AxisSet Param::gradient_axes() const { return partial.has(Axis::tensor) ? replicas().with(Axis::tensor) : replicas(); }

Box box_of(Param const& param, ProcessGrid const& grid, Rank rank) {
  Box box{param.shape, param.shape};
  for (int d = 0; d < param.shape.rank(); ++d) box.begin[d] = 0;
  for (Cut const& cut : param.cuts) {
    std::int64_t const ranks = grid.size(cut.axis), parts = cut.parts ? cut.parts : ranks;
    std::int64_t& extent = box.count[cut.dimension];
    validate(extent % parts == 0 && ranks % parts == 0, param.name, " ", to_string(param.shape), " can't be cut into ",
             parts, " parts for layout.", name(cut.axis), " = ", ranks, " (dimension ", cut.dimension, " has ", extent,
             " rows and every rank needs an equal share). Choose a layout.", name(cut.axis), " that divides it.");
    extent /= parts;
    box.begin[cut.dimension] += extent * (grid.coord(rank, cut.axis) / (ranks / parts));
  }
  return box;
}

bool counts(Param const& param, ProcessGrid const& grid, Rank rank) {
  auto first = [&](Axis axis) { return grid.coord(rank, axis) == 0; };
  bool cut_tensor = false;
  for (Cut const& cut : param.cuts)
    if (cut.axis == Axis::tensor) {
      cut_tensor = true;
      std::int64_t const ranks = grid.size(Axis::tensor), parts = cut.parts ? cut.parts : ranks;
      if (grid.coord(rank, Axis::tensor) % (ranks / parts)) return false;
    }
  if (!cut_tensor && !first(Axis::tensor)) return false;
  for (Axis axis : {Axis::context, Axis::expert, Axis::data})
    if (param.replicas().has(axis) && !first(axis)) return false;
  return true;
}

}  // namespace selenite
