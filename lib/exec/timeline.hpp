#pragma once
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/cost.hpp"
#include "exec/lanes.hpp"

namespace selenite {

/// What a rank does on a lane for some time. Spans of a lane lie inside each other or apart.
struct TimelineSpan {
  Lane lane = Lane::compute;
  std::string name;
  std::string_view category;  ///< a Cause's name, or a constant of whoever adds the span
  double start = 0, end = 0;  ///< in seconds of Ctx::now, or of the lane's clock where work is priced
  Cost cost{};                ///< of work: its bytes, FLOPs and group
};

std::string_view name(Work work);

/// What a rank does, while it is recorded: a Ctx adds its work, others what they see. Threads may add at once.
class Timeline {
 public:
  void add(TimelineSpan span);
  void add(Lane lane, Cost const& cost, Cause cause, double start, double end);
  /// All so far, by lane and start, the outer before the inner.
  std::vector<TimelineSpan> spans() const;

 private:
  mutable std::mutex mutex_;
  std::vector<TimelineSpan> spans_;
};

}  // namespace selenite
