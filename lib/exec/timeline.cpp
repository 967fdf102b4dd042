#include "exec/timeline.hpp"

#include <algorithm>
#include <array>
#include <tuple>

namespace selenite {

std::string_view name(Cause cause) {
  constexpr std::array<std::string_view, cause_count> names{"gemm", "attention", "memory_bound", "optimizer",
                                                            "communication"};
  return names[static_cast<std::size_t>(cause)];
}

std::string_view name(Lane lane) {
  constexpr std::array<std::string_view, lane_count> names{"compute", "comm", "copy", "tensor"};
  return names[static_cast<std::size_t>(lane)];
}

namespace {
std::string_view name(Work work) {
  switch (work) {
    case Work::gemm:
      return "gemm";
    case Work::attention:
      return "attention";
    case Work::stream:
      return "stream";
    case Work::all_reduce:
      return "all-reduce";
    case Work::all_gather:
      return "all-gather";
    case Work::reduce_scatter:
      return "reduce-scatter";
    case Work::all_to_all:
      return "all-to-all";
    case Work::broadcast:
      return "broadcast";
    case Work::send:
      return "send";
    case Work::recv:
      return "receive";
    case Work::host:
      break;
  }
  return "host";
}
}  // namespace

void Timeline::add(TimelineSpan span) {
  std::lock_guard const lock(mutex_);
  spans_.push_back(std::move(span));
}

void Timeline::add(Lane lane, Cost const& cost, Cause cause, double start, double end) {
  add({lane, std::string(name(cost.work)), selenite::name(cause), start, end, cost});
}

std::vector<TimelineSpan> Timeline::spans() const {
  std::vector<TimelineSpan> sorted;
  {
    std::lock_guard const lock(mutex_);
    sorted = spans_;
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](TimelineSpan const& a, TimelineSpan const& b) {
    return std::tuple(a.lane, a.start, -a.end) < std::tuple(b.lane, b.start, -b.end);
  });
  return sorted;
}

}  // namespace selenite
