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
  std::lock_guard const lock(mutex_);
  action_ = std::move(action);
  pace_ = pace;
  ++actions_;
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
  heed_signal(now);
  if (now - posted_at_ >= period_) post();
  for (Rank const watcher : {Rank(0), last_})
    if (comm_.rank() == watcher) return table_.update(mine, now), look(now);
}

WatchPost Watchdog::own(double now) {
  std::lock_guard const lock(mutex_);
  WatchPost p{.rank = *comm_.rank(), .actions = actions_, .slow = pace_ == Pace::slow, .ended = closing_};
  p.set_action(action_);
  if (auto const call = comm_.calls().current()) p.call = packed(*call);
  if (std::uint64_t const seen = actions_ + comm_.calls().count(); seen != seen_) seen_ = seen, moved_at_ = now;
  p.idle = now - moved_at_;
  return p;
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
