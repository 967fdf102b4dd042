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

bool counts(Param const& param, ProcessGrid const& grid, Rank rank, AxisSet axes) {
  if (param.second_copy && axes.has(Axis::pipe)) return false;
  for (Axis axis : {Axis::context, Axis::expert, Axis::data})
    if (axes.has(axis) && param.replicas().has(axis) && grid.coord(rank, axis) != 0) return false;
  if (!axes.has(Axis::tensor)) return true;
  std::int64_t const ranks = grid.size(Axis::tensor);
  std::int64_t copies = ranks;  // neighbouring tensor ranks that hold the same
  for (Cut const& cut : param.cuts)
    if (cut.axis == Axis::tensor) copies = cut.parts ? ranks / cut.parts : 1;
  return grid.coord(rank, Axis::tensor) % copies == 0;
}

}  // namespace selenite
