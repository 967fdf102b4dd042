#pragma once
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/collectives.hpp"
#include "comm/mover.hpp"

// What the ranks of a job share when they are threads of one process; private to threads.cpp.

namespace selenite {

/// Raised once when a rank fails, seen by every wait.
struct StopFlag {
  std::atomic<bool> raised{false};
  bool crowded = false;  ///< ranks exceed cores: a wait gives its core away instead of spinning
};

/// Guards some state; threads wait at it for a change. Every wait throws Stopped when the flag is raised.
class Gate {
 public:
  explicit Gate(StopFlag const& stop) : stop_(stop) {}
  /// Returns when ready() is true, which is asked under the lock.
  template <class Ready>
  void wait(Ready ready) {
    std::unique_lock lock(mutex_);
    for (;;) {
      throw_if_stopped();
      if (ready()) return;
      std::uint64_t const seen = changes_.load(std::memory_order_relaxed);
      auto changed = [&] {
        return changes_.load(std::memory_order_acquire) != seen || stop_.raised.load(std::memory_order_acquire);
      };
      lock.unlock();
      for (int i = 0; i < polls() && !changed(); ++i) pause();
      lock.lock();
      changed_.wait(lock, changed);
    }
  }
  /// Runs `change` under the lock; wakes who waits if it returns true.
  template <class Change>
  void update(Change change) {
    {
      std::lock_guard lock(mutex_);
      if (!change()) return;
      changes_.fetch_add(1, std::memory_order_release);
    }
    changed_.notify_all();
  }

 private:
  void throw_if_stopped() const;
  int polls() const { return stop_.crowded ? 30 : 2000; }  // before it sleeps, which takes tens of microseconds
  void pause() const;

  StopFlag const& stop_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<std::uint64_t> changes_{0};
};

/// The ranks of one group while they do a collective: what each has shown to the others, and a barrier.
class Meeting {
 public:
  /// A member's operation and the memory that the others may read between two barriers.
  struct Post {
    char const* what;
    void const* data;
    std::int64_t bytes;
  };
  Meeting(StopFlag const& stop, std::int64_t members) : gate_(stop), posts_(static_cast<std::size_t>(members)) {}
  std::int64_t members() const { return static_cast<std::int64_t>(posts_.size()); }
  /// The barrier.
  void sync();
  /// Shows `post`, waits for all members' and checks that all do the same.
  void show(std::int64_t index, Post const& post);
  std::byte const* data(std::int64_t index) const { return static_cast<std::byte const*>(post(index).data); }
  Post const& post(std::int64_t index) const { return posts_[static_cast<std::size_t>(index)]; }

  /// For those who read each other's memory: nobody leaves, and perhaps frees his, while another still reads.
  void enter() { inside_.fetch_add(1, std::memory_order_acq_rel); }
  void leave() { inside_.fetch_sub(1, std::memory_order_acq_rel); }
  void wait_until_empty() const;  ///< after the flag was raised: everyone is on his way out
  void wake();

 private:
  Gate gate_;
  std::vector<Post> posts_;
  std::int64_t arrived_ = 0;
  std::uint64_t generation_ = 0;
  std::atomic<std::int64_t> inside_{0};
};

/// What has been sent to one rank and not yet been received. It holds copies: the sender's memory may be gone when it
/// fails. Their buffers are used again.
class Mailbox {
 public:
  explicit Mailbox(StopFlag const& stop) : gate_(stop) {}
  void put(Rank from, Channel channel, std::int64_t tag, Tensor const& data, Mover& mover);
  /// The oldest message of this sender, channel and tag; throws Error if its size is another.
  void take(Rank from, Channel channel, std::int64_t tag, Tensor const& data, Mover& mover);
  void wake();

 private:
  struct Message {
    Rank from;
    Channel channel;
    std::int64_t tag;
    std::vector<std::byte> bytes;
  };
  Gate gate_;
  std::list<Message> messages_, spare_;
};

class ThreadJob {
 public:
  explicit ThreadJob(std::int64_t world);
  std::int64_t world() const { return static_cast<std::int64_t>(boxes_.size()); }
  Meeting& control() { return control_; }
  Mailbox& box(Rank rank) { return boxes_[static_cast<std::size_t>(*rank)]; }
  /// The group that begins with rank `first`, over these axes; made by the first who asks.
  Meeting& group(unsigned bits, Rank first, std::int64_t members);
  void clear_groups();

  /// Stops all ranks. The first error is kept; none, and Stopped, are consequences of one that comes or came.
  void fail(Rank rank, std::exception_ptr error);
  /// Stops all ranks, with Aborted as the error.
  [[noreturn]] void abort(Rank rank, int code);
  /// Throws the first error, if any, with its rank in front (but Aborted as it is).
  void rethrow() const;

  void post_note(Rank to, std::string const& note);
  std::optional<std::string> take_note(Rank rank);

  /// To be called by a rank's thread as its last act.
  void left();
  /// Waits for `ranks` threads to have left; after an abort not for long, but ends the process.
  void wait_until_left(std::int64_t ranks);

 private:
  StopFlag stop_;
  Meeting control_;
  std::deque<Mailbox> boxes_;
  std::mutex mutex_;
  std::map<std::pair<unsigned, Rank>, Meeting> groups_;
  std::exception_ptr error_;
  Rank failed_;
  std::mutex notes_mutex_;
  std::map<Rank, std::deque<std::string>> notes_;  ///< by who they are for
  std::condition_variable ended_;
  std::int64_t left_ = 0;
  std::optional<int> aborted_;  ///< with this exit code
};

}  // namespace selenite
