#include "train/flat.hpp"

#include "core/arena.hpp"

namespace selenite {
namespace {

/// The parameters [first, last) that lie side by side, with decay as the first has.
struct Group {
  std::size_t first, last;
  bool decay, partial;
};

std::vector<Group> groups_of(ParameterList const& parameters) {
  std::vector<Group> groups;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    if (parameters[i]->spec.beside_previous)
      groups.back().last = i + 1;
    else
      groups.push_back({i, i + 1, parameters[i]->spec.decay, parameters[i]->spec.partial.has(Axis::tensor)});
  }
  return groups;
}

}  // namespace

FlatLayout flat_layout(ParameterList const& parameters, ProcessGrid const& grid, Rank rank, std::int64_t bucket_bytes) {
  FlatLayout layout;
  layout.offsets.resize(parameters.size());
  auto const groups = groups_of(parameters);
  auto elements = [&](std::size_t i) { return box_of(parameters[i]->spec, grid, rank).count.count(); };
  /// Parameters of a kind side by side, and their run at the end of `runs`, one with the run before if they touch.
  auto extend = [](std::vector<Run>& runs, std::int64_t begin, std::int64_t end, bool decay) {
    if (begin == end) return;
    if (!runs.empty() && runs.back().begin + runs.back().count == begin && runs.back().decay == decay)
      runs.back().count += end - begin;
    else
      runs.push_back({begin, end - begin, decay});
  };
  auto place = [&](std::size_t first_group, std::size_t last_group, bool decay, bool partial) {
    std::int64_t const begin = layout.elements;
    for (std::size_t g = first_group; g < last_group; ++g) {
      if (groups[g].decay != decay || groups[g].partial != partial) continue;
      std::int64_t const group_begin = layout.elements;
      for (std::size_t i = groups[g].first; i < groups[g].last; ++i)
        layout.offsets[i] = layout.elements, layout.elements += elements(i);
      layout.elements = align_up(layout.elements, FlatLayout::alignment);
      // a group's parameters are cut alike, but neighbours may hold copies of k and v
      for (std::size_t i = groups[g].first; i < groups[g].last; ++i)
        if (counts(parameters[i]->spec, grid, rank, {Axis::tensor, Axis::pipe}))
          extend(layout.counted_runs, i == groups[g].first ? group_begin : layout.offsets[i],
                 i + 1 == groups[g].last ? layout.elements : layout.offsets[i + 1], false);
    }
    extend(layout.decay_runs, begin, layout.elements, decay);
    if (partial) extend(layout.partial_runs, begin, layout.elements, false);
  };
  std::size_t first = 0;
  std::int64_t bytes = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    for (std::size_t i = groups[g].first; i < groups[g].last; ++i) bytes += elements(i) * size_of(DType::fp32);
    if (bytes < bucket_bytes && g + 1 < groups.size()) continue;
    std::int64_t const begin = layout.elements;
    for (bool const decay : {true, false})
      for (bool const partial : {true, false}) place(first, g + 1, decay, partial);
    layout.buckets.push_back({begin, layout.elements - begin, false});
    first = g + 1, bytes = 0;
  }
  return layout;
}

void bind_parameters(ParameterList const& parameters, FlatLayout const& layout, ProcessGrid const& grid, Rank rank,
                     Tensor const& weights, Tensor const& gradients) {
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    Shape const shape = box_of(parameters[i]->spec, grid, rank).count;
    auto view = [&](Tensor const& flat) {
      return Tensor(flat.raw() ? flat.raw() + layout.offsets[i] * size_of(flat.dtype()) : nullptr, flat.dtype(), shape,
                    flat.device());
    };
    parameters[i]->weight = view(weights);
    parameters[i]->gradient = view(gradients);
  }
}

}  // namespace selenite
