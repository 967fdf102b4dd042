#include "exec/ctx.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "exec/price.hpp"

namespace selenite {

double Tally::total_seconds() const { return std::accumulate(seconds.begin(), seconds.end(), 0.0); }

void Tally::add(Tally const& other) {
  for (std::size_t i = 0; i < cause_count; ++i) seconds[i] += other.seconds[i];
  flops += other.flops, model_flops += other.model_flops, hardware_flops += other.hardware_flops;
  bytes += other.bytes, collective_bytes += other.collective_bytes, launches += other.launches;
  sent.add(other.sent, 1);
}

namespace {
Cause cause_of(Work work, bool optimizer) {
  if (work >= Work::all_reduce && work <= Work::recv) return Cause::communication;
  if (optimizer) return Cause::optimizer;
  return work == Work::gemm ? Cause::gemm : work == Work::attention ? Cause::attention : Cause::memory_bound;
}
}  // namespace

void Ctx::price(Cost const& cost) {
  double seconds = machine_ ? selenite::price(cost, *machine_, place_.grid, place_.rank) : 0;
  if (lane_ == Lane::compute) seconds += slowed(seconds);
  double& clock = clocks_[index(lane_)];
  Cause const cause = cause_of(cost.work, optimizer_phase_);
  if (lane_ == Lane::compute)
    exposed_.of(cause, cost.group, recomputing_) += seconds;
  else
    beside_.push_back({clock, clock + seconds, cause, cost.group});
  clock += seconds;
  count(cost, seconds);
  record(cost, seconds);
}

void Ctx::price_message(Cost const& cost, Channel channel) {
  double const seconds = machine_ ? selenite::price(cost, *machine_, place_.grid, place_.rank) : 0;
  bool const sends = cost.work == Work::send, tied = channel == Channel::tied,
             waits = sends ? place_.blocking_sends && !tied : tied;
  if (sends && !waits) messages_[static_cast<std::size_t>(channel)] = seconds;
  if (waits) {
    clocks_[index(lane_)] += seconds;
    exposed_.of(Cause::communication, {Axis::pipe}, false) += seconds;
  }
  count(cost, sends ? seconds : 0);  // once
}

/// While the compute lane waits for another, that one is busy: the wait is for what it does meanwhile. Where two lanes
/// are, a moment counts for the one that began first.
void Ctx::expose_wait(double from, double to) {
  std::ranges::stable_sort(beside_, {}, &Beside::start);
  for (Beside const& b : beside_) {
    double const start = b.start > from ? b.start : from, end = b.end < to ? b.end : to;
    if (end <= start) continue;
    exposed_.of(b.cause, b.group, false) += end - start;
    from = end;
  }
  std::erase_if(beside_, [&](Beside const& b) { return b.end <= to; });
}

/// What work of the compute lane takes longer because another lane is busy beside its beginning, or all of it.
double Ctx::slowed(double seconds) const {
  double const lost = machine_ ? machine_->cluster.overlap_cost : 0,
               beside = std::ranges::max(clocks_) - clocks_[index(Lane::compute)];
  return lost > 0 && beside > 0 ? std::min(beside * lost, seconds * lost / (1 - lost)) : 0;
}

void Ctx::count(Cost const& cost, double seconds) {
  Cause const cause = cause_of(cost.work, optimizer_phase_);
  tally_.seconds[static_cast<std::size_t>(cause)] += seconds;
  tally_.flops += cost.flops;
  double const conventional = cost.model_flops < 0 ? cost.flops : cost.model_flops;
  tally_.hardware_flops += conventional;
  if (!recomputing_) tally_.model_flops += conventional;
  (cause == Cause::communication ? tally_.collective_bytes : tally_.bytes) += cost.bytes;
  ++tally_.launches;
}

void Ctx::record(Cost const& cost, double seconds) {
  if (!timeline_ || seconds == 0) return;
  Lane const lane = running() ? Lane::compute : lane_;  // the comm lane's thread records what it does itself
  double const end = running() ? now() : clocks_[index(lane)];
  timeline_->add(lane, cost, cause_of(cost.work, optimizer_phase_), end - seconds, end);
}

void Ctx::repeat(LaunchKey key, std::function<void()> const& body, std::function<Leave()> const& state) {
  EXPECTS(lane_ == Lane::compute && (!kept_ || kept_ == place_.save));
  for (Arena const* arena : {place_.save, place_.scratch}) {
    key.place.push_back(reinterpret_cast<std::uintptr_t>(arena->base()));
    key.place.push_back(static_cast<std::uint64_t>(arena->mark()));
  }
  DeviceGraphs::Entry* const entry = graphs_->find(key);
  if (!entry) return body();
  bool const timed = cuda_->clock().running();
  if (entry->captured && !timed) return replay(*entry->captured);
  if (entry->known && !timed) return capture(*entry, body, state);
  entry->known = true;
  body();
}

void Ctx::capture(DeviceGraphs::Entry& entry, std::function<void()> const& body, std::function<Leave()> const& state) {
  Tally const before = std::exchange(tally_, {});
  double const flops = std::exchange(cuda_->cuda().flops, 0);
  std::int64_t const saved = place_.save->mark(), scratch = place_.scratch->mark();
  bool const recomputing = recomputing_;
  Leave const as_before = state();
  auto const go_back = [&] {
    tally_ = before, cuda_->cuda().flops = flops;
    place_.save->release(saved), place_.scratch->release(scratch);
    capturing_ = false, recomputing_ = recomputing;
  };
  try {
    capturing_ = true;
    CudaGraph graph(stream(), body);
    DeviceGraphs::Captured captured{std::move(graph), tally_, cuda_->cuda().flops, place_.save->mark() - saved,
                                    state()};
    go_back();
    replay(captured);
    entry.captured = std::move(captured);
    ++graphs_->captures;
  } catch (Error const& e) {  // of the device's: nothing has been done. Any other comes again
    go_back();
    as_before();
    graphs_->give_up(e.what());
    body();
  }
}

void Ctx::replay(DeviceGraphs::Captured const& captured) {
  captured.graph.launch(stream());
  tally_.add(captured.counted);
  cuda_->cuda().flops += captured.flops;
  place_.save->allocate(DType::uint8, {captured.saved_bytes});
  captured.leave();
  ++graphs_->replays;
}

void Ctx::begin_on_device(Cost const& cost) {
  cuda_->clock().begin(lane_, cause_of(cost.work, optimizer_phase_), cuda_->cuda().stream);
}
void Ctx::end_on_device(Cost const& cost) {
  if (cuda_->clock().times_operations())
    cuda_->clock().end(lane_, std::string(name(cost.work)), cost, cuda_->cuda().stream);
}

void Ctx::open_span(std::string name, std::string_view category) {
  if (cuda_) return cuda_->clock().open(std::move(name), category, cuda_->stream(Lane::compute));
  open_.push_back({.name = std::move(name), .category = category, .start = now()});
}

void Ctx::close_span() {
  if (cuda_) return cuda_->clock().close(cuda_->stream(Lane::compute));
  TimelineSpan span = std::move(open_.back());
  open_.pop_back();
  span.end = now();
  if (timeline_) timeline_->add(std::move(span));
}

void Ctx::start_timing() {
  if (cuda_)
    cuda_->clock().start(cuda_->stream(Lane::compute), timeline_);
  else
    at_start_ = tally_.seconds;
}

void Ctx::stop_timing() {
  if (cuda_) return cuda_->clock().stop(cuda_->stream(Lane::compute));
  stretch_.emplace();
  for (std::size_t i = 0; i < cause_count; ++i) (*stretch_)[i] = tally_.seconds[i] - at_start_[i];
}

std::optional<CauseSeconds> Ctx::take_times() {
  return cuda_ ? cuda_->clock().take() : std::exchange(stretch_, std::nullopt);
}

void Ctx::waited(double start) {
  double const end = now();
  tally_.seconds[static_cast<std::size_t>(Cause::communication)] += end - start;
  if (timeline_) timeline_->add({Lane::compute, "wait", name(Cause::communication), start, end});
}

void Ctx::go_to(Lane lane, Event after) {
  if (cuda_ && lane != lane_) {
    cuda_->select(lane);
    cuda_->wait(after.number);
  }
  lane_ = lane;
}
void Ctx::return_to(Lane lane) {
  if (cuda_) cuda_->select(lane);
  lane_ = lane;
}

void Ctx::wait(Event event) {
  double const before = clocks_[index(lane_)];
  advance(lane_, event);
  if (lane_ == Lane::compute && event.time > before) expose_wait(before, event.time);
  if (cuda_) return wait_on_device([&] { cuda_->wait(event.number); });
  if (!comm_lane_ || event.number == 0) return;
  auto const start = now();
  comm_lane_->wait(event.number);
  waited(start);
}

void Ctx::finish(Channel channel, Tensor const& data) {
  if (!running() || !comm_) return;
  if (cuda_) return wait_on_device([&] { comm_->finish(channel, data); });
  auto const start = now();
  comm_->finish(channel, data);
  waited(start);
}

double Ctx::fetch(Tensor const& tensor, double assumed, std::int64_t element) const {
  if (!running()) return assumed;
  std::int64_t const size = size_of(tensor.dtype());
  std::byte const* value = tensor.raw() + element * size;
  if (cuda_) {
    cuda_->copy(cuda_->mailbox(), value, size);
    cuda_->synchronize();
    value = cuda_->mailbox();
  }
  Tensor const one(const_cast<std::byte*>(value), tensor.dtype(), {1});
  return one.dtype() == DType::fp64 ? *one.data<double>() : static_cast<double>(*one.data<float>());
}

void Ctx::put(Tensor const& tensor, std::int64_t element, double value) const {
  if (!running()) return;
  std::int64_t const size = size_of(tensor.dtype());
  std::byte* const place = tensor.raw() + element * size;
  if (cuda_) cuda_->synchronize();  // the mailbox is free
  Tensor const one(cuda_ ? cuda_->mailbox() : place, tensor.dtype(), {1});
  if (one.dtype() == DType::fp64)
    *one.data<double>() = value;
  else
    *one.data<float>() = static_cast<float>(value);
  if (cuda_) cuda_->copy(place, one.raw(), size);
}

void Ctx::upload(Tensor const& host, Tensor const& to) const {
  if (cuda_) cuda_->copy(to.raw(), host.raw(), to.bytes());
}
void Ctx::wait_on_host(Event event) const {
  if (cuda_) cuda_->wait_on_host(event.number);
}
void Ctx::synchronize() const {
  if (cuda_) cuda_->synchronize();
}

}  // namespace selenite
