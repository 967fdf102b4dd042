#include "run/watchdog.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>

#include "core/text.hpp"
#include "run/signals.hpp"

namespace selenite {
namespace {

constexpr double most_seconds_between_posts = 1, seconds_between_looks = 0.1;
/// From a SIGTERM to the last words of a rank that does not move; a launcher may leave a second.
constexpr double last_words_after = 0.4;

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Watchdog::Watchdog(double limit, Comm& comm, ProcessGrid const& grid, Handlers handlers)
    : limit_(limit),
      period_(std::min(limit / 10, most_seconds_between_posts)),
      comm_(comm),
      last_(comm.world() - 1),
      handlers_(std::move(handlers)),
      grid_(grid),
      table_(grid, clock_seconds()) {
  moved_at_ = ticked_at_ = clock_seconds();
  if (limit > 0) thread_ = std::jthread([this] { watch(); });
}

Watchdog::~Watchdog() {
  {
    std::lock_guard const lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
}

void Watchdog::announce(std::string action, Pace pace) {
  std::uint64_t const milestone = device_ ? device_->set_milestone() : 0;
  std::lock_guard const lock(mutex_);
  if (!device_ || limit_ <= 0) announced_.clear();  // nobody looks at those before
  announced_.push_back({std::move(action), pace, ++actions_, milestone});
}

void Watchdog::follow(CudaLanes& device) {
  std::lock_guard const lock(mutex_);
  device_ = &device;
}

void Watchdog::watch() {
  std::chrono::duration<double> const rest(std::min(period_, seconds_between_looks));
  for (;;) {
    bool closing = false;
    {
      std::unique_lock lock(mutex_);
      closing = changed_.wait_for(lock, rest, [this] { return closing_; });
    }
    try {
      if (closing) return post();
      tick(clock_seconds());
    } catch (Error const&) {
      // A note that can't be sent, because its peer is gone, or the end of a job of thread ranks: there is nobody to
      // tell.
    }
  }
}

void Watchdog::tick(double now) {
  if (double const pause = now - ticked_at_; pause > 3 * period_ + 1) {  // this process was stopped and goes on
    table_.skip(pause);
    moved_at_ += pause;
  }
  ticked_at_ = now;
  WatchPost const mine = own(now);
  expect_working(now);
  heed_signal(now);
  if (now - posted_at_ >= period_) post();
  for (Rank const watcher : {Rank(0), last_})
    if (comm_.rank() == watcher) return table_.update(mine, now), look(now);
}

/// Lets go of the actions that the device is through with.
void Watchdog::look_at_device() {
  flight_ = comm_.in_flight();
  CudaLanes* device = nullptr;
  {
    std::lock_guard const lock(mutex_);
    device = device_;
  }
  if (!device) return;
  std::uint64_t const passed = device->passed_milestone();
  std::lock_guard const lock(mutex_);
  while (announced_.size() > 1 && announced_[1].milestone <= passed) announced_.pop_front();
}

WatchPost Watchdog::own(double now) {
  look_at_device();
  std::lock_guard const lock(mutex_);
  Announced const& under_way = announced_.front();
  WatchPost p{
      .rank = *comm_.rank(), .actions = under_way.number, .slow = under_way.pace == Pace::slow, .ended = closing_};
  p.set_action(under_way.text);
  auto const call = flight_.call ? flight_.call : comm_.calls().current();
  if (call) p.call = packed(*call);
  std::uint64_t const seen = actions_ + under_way.number + comm_.calls().count() + flight_.ended;
  if (seen != seen_) seen_ = seen, moved_at_ = now;
  p.idle = now - moved_at_;
  return p;
}

void Watchdog::expect_working(double now) {
  constexpr double grace = 5;
  if (failed_) return;
  try {
    comm_.expect_working();
  } catch (Stopped const&) {
    // the rank is leaving
  } catch (Error const& e) {
    // A peer that ends the job gives up its communicators first: what it says, and its code, are to be the job's.
    if (!failing_since_) failing_since_ = now;
    if (now - *failing_since_ < grace) return;
    failed_ = true;
    std::string const where = describe(grid_, comm_.rank());
    handlers_.failed(concat("Rank ", comm_.rank(), where.empty() ? "" : concat(" (", where, ")"), ", in ",
                            doing(own(now)), ": ", e.what()));
  }
}

void Watchdog::post() {
  double const now = clock_seconds();
  std::string const note = to_note(own(now));
  posted_at_ = now;
  for (Rank const watcher : {Rank(0), last_}) {
    if (watcher != comm_.rank()) comm_.post_note(watcher, note);
    if (last_ == Rank(0)) break;
  }
}

void Watchdog::look(double now) {
  while (auto const note = comm_.take_note())
    if (auto const theirs = from_note(*note)) table_.update(*theirs, now);
  // Rank 0 speaks first, if it can.
  bool const second = comm_.rank() != Rank(0) && !table_.silent(Rank(0), now, 3 * period_);
  double const limit = second ? limit_ + 2 + 2 * period_ : limit_;
  if (expired_) return;
  auto const verdict = table_.verdict(now, limit);
  if (!verdict) return;
  expired_ = true;
  handlers_.expired(*verdict);
}

void Watchdog::heed_signal(double now) {
  if (alarmed_ || SignalGuard::received() != SIGTERM) return;
  if (!signal_at_) {
    signal_at_ = now;
    return post();  // who can't is missed
  }
  if (now - *signal_at_ < last_words_after) return;
  alarmed_ = true;
  if (moved_at_ > *signal_at_) return;
  WatchPost const mine = own(now);
  std::string text = concat("Rank ", mine.rank, " got a SIGTERM and has not moved for ", format_duration(mine.idle),
                            "; its last action was ", doing(mine), ".");
  if (comm_.rank() == Rank(0) || comm_.rank() == last_)
    if (std::string const missing = table_.missing_since(*signal_at_ - last_words_after / 2, now); !missing.empty())
      text += " " + missing;
  handlers_.alarm(text);
}

}  // namespace selenite
