#include "exec/device_clock.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace selenite {
namespace {

double host_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
std::size_t index(Lane lane) { return static_cast<std::size_t>(lane); }

}  // namespace

DeviceClock::Moment DeviceClock::record(CUstream_st* stream) {
  Moment moment;
  if (unused_.empty())
    moment = std::make_shared<CudaEvent>(CudaEvent::Kind::timed);
  else
    moment = std::move(unused_.back()), unused_.pop_back();
  moment->record(stream);
  return moment;
}

void DeviceClock::start(CUstream_st* compute, Timeline* timeline) {
  running_ = true;
  timeline_ = timeline;
  current_ = {.timeline = timeline};
  if (!timeline) return;
  current_.origin = record(compute);
  current_.origin->wait();
  current_.origin_time = host_seconds();
}

void DeviceClock::stop(CUstream_st* compute) {
  if (!running_) return;
  while (!open_.empty()) close(compute);
  if (Span& last = begun_[index(Lane::compute)]; last.start) {
    last.end = record(compute);
    current_.spans.push_back(std::exchange(last, {}));
  }
  over_.push_back(std::exchange(current_, {}));
  running_ = false;
}

void DeviceClock::begin(Lane lane, Cause cause, CUstream_st* stream) {
  if (!running_) return;
  Span& begun = begun_[index(lane)];
  if (!timeline_) {
    if (lane != Lane::compute || (begun.start && begun.cause == cause)) return;
    Moment const now = record(stream);
    if (begun.start) {
      begun.end = now;
      current_.spans.push_back(std::move(begun));
    }
    begun = {.start = now, .cause = cause};
    return;
  }
  begun = {.start = record(stream), .lane = lane, .cause = cause};
}

void DeviceClock::end(Lane lane, std::string name, Cost const& cost, CUstream_st* stream) {
  Span& begun = begun_[index(lane)];
  if (!times_operations() || !begun.start) return;
  begun.end = record(stream);
  begun.name = std::move(name), begun.cost = cost;
  current_.spans.push_back(std::exchange(begun, {}));
}

void DeviceClock::open(std::string name, std::string_view category, CUstream_st* compute) {
  if (times_operations()) open_.push_back({.start = record(compute), .name = std::move(name), .category = category});
}

void DeviceClock::close(CUstream_st* compute) {
  if (!times_operations() || open_.empty()) return;
  open_.back().end = record(compute);
  current_.spans.push_back(std::move(open_.back()));
  open_.pop_back();
}

std::optional<CauseSeconds> DeviceClock::take() {
  if (over_.empty()) return std::nullopt;
  Stretch& stretch = over_.front();
  if (!std::ranges::all_of(stretch.spans, [](Span const& s) { return s.end->passed(); })) return std::nullopt;
  CauseSeconds seconds{};
  for (Span const& span : stretch.spans) {
    if (span.cause && span.lane == Lane::compute)
      seconds[static_cast<std::size_t>(*span.cause)] += span.end->seconds_since(*span.start);
    if (stretch.timeline) add(stretch, span);
  }
  recycle(stretch);
  over_.pop_front();
  return seconds;
}

void DeviceClock::add(Stretch const& stretch, Span const& span) const {
  double const start = stretch.origin_time + span.start->seconds_since(*stretch.origin);
  stretch.timeline->add({span.lane, span.name, span.cause ? name(*span.cause) : span.category, start,
                         start + span.end->seconds_since(*span.start), span.cost});
}

/// A moment that ends one span and begins the next is used again once.
void DeviceClock::recycle(Stretch& stretch) {
  auto const give_back = [&](Moment& moment) {
    if (moment && moment.use_count() == 1) unused_.push_back(std::move(moment));
    moment.reset();
  };
  for (Span& span : stretch.spans) give_back(span.start), give_back(span.end);
  give_back(stretch.origin);
}

}  // namespace selenite
