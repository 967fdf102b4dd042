#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/cuda_event.hpp"
#include "exec/timeline.hpp"

namespace selenite {

/// Times what the lanes of a device do, by events between the work. They are read when they have passed, so that
/// nothing waits: a stretch of work is known some time after it was given.
class DeviceClock {
 public:
  /// Times what is given from now on. With a timeline each operation on every lane is timed and recorded there, for
  /// which the host waits once, here; else the compute lane alone, an event wherever the cause changes.
  void start(CUstream_st* compute, Timeline* timeline);
  /// The stretch is over.
  void stop(CUstream_st* compute);
  bool running() const { return running_; }
  bool times_operations() const { return running_ && timeline_; }

  /// Around every operation; what waits for others is communication.
  void begin(Lane lane, Cause cause, CUstream_st* stream);
  void end(Lane lane, std::string name, Cost const& cost, CUstream_st* stream);
  /// A span of the timeline that has others inside it, from one moment of the compute lane to another.
  void open(std::string name, std::string_view category, CUstream_st* compute);
  void close(CUstream_st* compute);

  /// Seconds by cause of the oldest stretch that is over and known whole; adds its work to its timeline.
  std::optional<CauseSeconds> take();

 private:
  using Moment = std::shared_ptr<CudaEvent>;
  struct Span {
    Moment start, end;
    Lane lane = Lane::compute;
    std::optional<Cause> cause;  ///< of work; else the category counts
    std::string name;
    std::string_view category;
    Cost cost{};
  };
  struct Stretch {
    std::vector<Span> spans;
    Timeline* timeline = nullptr;
    Moment origin;           ///< of a timeline
    double origin_time = 0;  ///< by Ctx::now
  };
  Moment record(CUstream_st* stream);
  void recycle(Stretch& stretch);
  void add(Stretch const& stretch, Span const& span) const;

  bool running_ = false;
  Timeline* timeline_ = nullptr;
  Stretch current_;
  std::array<Span, lane_count> begun_;  ///< by lane: of a start without an end
  std::vector<Span> open_;              ///< the outer before the inner
  std::deque<Stretch> over_;
  std::vector<Moment> unused_;
};

}  // namespace selenite
