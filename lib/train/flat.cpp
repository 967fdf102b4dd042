#include "train/flat.hpp"

#include <algorithm>

#include "core/arena.hpp"

namespace selenite {
namespace {

/// The parameters [first, last) that lie side by side, with decay as the first has.
struct Group {
  std::size_t first, last;
  bool decay, partial, tied;
};

std::vector<Group> groups_of(ParameterList const& parameters) {
  std::vector<Group> groups;
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    Param const& p = parameters[i]->spec;
    if (p.beside_previous)
      groups.back().last = i + 1;
    else
      groups.push_back({i, i + 1, p.decay, p.partial.has(Axis::tensor), p.tied});
  }
  return groups;
}

/// A run at the end of `runs`, one with the run before if they touch.
void extend(std::vector<Run>& runs, std::int64_t begin, std::int64_t end, bool decay) {
  if (begin == end) return;
  if (!runs.empty() && runs.back().begin + runs.back().count == begin && runs.back().decay == decay)
    runs.back().count += end - begin;
  else
    runs.push_back({begin, end - begin, decay});
}

class Layouter {
 public:
  Layouter(ParameterList const& parameters, FlatRequest const& request)
      : parameters_(parameters), request_(request), groups_(groups_of(parameters)) {
    AxisSet const replicas{Axis::context, Axis::expert, Axis::data};
    if (request.sharded) {
      layout_.shards = request.grid.size(replicas);
      layout_.shard = request.grid.index_in_group(request.rank, replicas);
    }
    layout_.offsets.resize(parameters.size());
    for (Parameter const* p : parameters)
      layout_.counts.push_back(box_of(p->spec, request.grid, request.rank).count.count());
  }

  FlatLayout layout() {
    std::size_t first = 0;
    std::int64_t bytes = 0;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      for (std::size_t i = groups_[g].first; i < groups_[g].last; ++i)
        bytes += layout_.counts[i] * size_of(DType::fp32);
      auto ends_here = [&](std::vector<std::size_t> const& ends) {
        return std::ranges::count(ends, groups_[g].last) > 0;
      };
      bool const alone = groups_[g].tied || (g + 1 < groups_.size() && groups_[g + 1].tied),
                 full = bytes >= request_.bucket_bytes && ends_here(request_.may_end);
      if (!full && !alone && !ends_here(request_.chunk_ends) && g + 1 < groups_.size()) continue;
      bucket(first, g + 1);
      first = g + 1, bytes = 0;
    }
    return layout_;
  }

 private:
  void bucket(std::size_t first_group, std::size_t last_group) {
    std::int64_t const begin = layout_.elements;
    for (bool const decay : {true, false})
      for (bool const partial : {true, false}) place(first_group, last_group, decay, partial);
    layout_.elements = begin + align_up(layout_.elements - begin, FlatLayout::alignment * layout_.shards);
    layout_.buckets.push_back({begin, layout_.elements - begin, groups_[first_group].first,
                               groups_[last_group - 1].last, groups_[first_group].tied});
  }

  /// Parameters of a kind side by side.
  void place(std::size_t first_group, std::size_t last_group, bool decay, bool partial) {
    std::int64_t const begin = layout_.elements;
    for (std::size_t g = first_group; g < last_group; ++g) {
      Group const& group = groups_[g];
      if (group.decay != decay || group.partial != partial) continue;
      std::int64_t const group_begin = layout_.elements;
      for (std::size_t i = group.first; i < group.last; ++i)
        layout_.offsets[i] = layout_.elements, layout_.elements += layout_.counts[i];
      layout_.elements = align_up(layout_.elements, FlatLayout::alignment);
      // a group's parameters are cut alike, but neighbours may hold copies of k and v
      for (std::size_t i = group.first; i < group.last; ++i)
        if (counts(parameters_[i]->spec, request_.grid, request_.rank, {Axis::tensor, Axis::pipe}))
          extend(layout_.counted_runs, i == group.first ? group_begin : layout_.offsets[i],
                 i + 1 == group.last ? layout_.elements : layout_.offsets[i + 1], false);
    }
    extend(layout_.decay_runs, begin, layout_.elements, decay);
    if (partial) extend(layout_.partial_runs, begin, layout_.elements, false);
  }

  ParameterList const& parameters_;
  FlatRequest const& request_;
  std::vector<Group> groups_;
  FlatLayout layout_;
};

}  // namespace

FlatLayout flat_layout(ParameterList const& parameters, FlatRequest const& request) {
  return Layouter(parameters, request).layout();
}

std::vector<OwnedRun> FlatLayout::owned(std::vector<Run> const& runs) const {
  std::vector<OwnedRun> list;
  for (Run const& run : runs) {
    if (run.count == 0) continue;  // of a stage without parameters, which has no buckets
    auto bucket = std::ranges::upper_bound(buckets, run.begin, {}, &Bucket::begin);
    for (bucket = std::prev(bucket); bucket != buckets.end() && bucket->begin < run.begin + run.count; ++bucket) {
      Run const part = shard_of(*bucket, shard);
      std::int64_t const begin = std::max(run.begin, part.begin),
                         end = std::min(run.begin + run.count, part.begin + part.count),
                         at = bucket->begin / shards + begin - part.begin;
      if (begin >= end) continue;
      bool const touches = !list.empty() && list.back().begin + list.back().count == begin &&
                           list.back().at + list.back().count == at && list.back().decay == run.decay;
      if (touches)
        list.back().count += end - begin;
      else
        list.push_back({begin, at, end - begin, run.decay});
    }
  }
  return list;
}

Tensor run_of(Tensor const& flat, std::int64_t begin, std::int64_t count) {
  if (!flat.defined()) return {};
  return Tensor(flat.raw() ? flat.raw() + begin * size_of(flat.dtype()) : nullptr, flat.dtype(), {count},
                flat.device());
}

}  // namespace selenite
