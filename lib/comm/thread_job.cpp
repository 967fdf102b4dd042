#include "comm/thread_job.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "comm/comm.hpp"

namespace selenite {
namespace {

#if defined(__x86_64__)
constexpr auto spin_hint = [] { __builtin_ia32_pause(); };
#else
constexpr auto spin_hint = [] {};
#endif

}  // namespace

void Gate::throw_if_stopped() const {
  if (stop_.raised.load(std::memory_order_acquire)) throw Stopped();
}

void Gate::pause() const {
  if (stop_.crowded)
    std::this_thread::yield();
  else
    spin_hint();
}

void Meeting::sync() {
  std::uint64_t mine = 0;
  gate_.update([&] {
    mine = generation_;
    if (++arrived_ < members()) return false;
    arrived_ = 0;
    ++generation_;
    return true;
  });
  gate_.wait([&] { return generation_ != mine; });
}

void Meeting::show(std::int64_t index, Post const& post) {
  posts_[static_cast<std::size_t>(index)] = post;
  sync();
  for (Post const& other : posts_)
    validate(std::string_view(other.what) == posts_[0].what && other.bytes == posts_[0].bytes,
             "The ranks of a group do not do the same (one is in ", posts_[0].what, " of ", posts_[0].bytes,
             " bytes, another in ", other.what, " of ", other.bytes,
             "). This is a defect of Selenite; please report it.");
}

void Meeting::wait_until_empty() const {
  while (inside_.load(std::memory_order_acquire) > 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

void Meeting::wake() {
  gate_.update([] { return true; });
}

void Mailbox::put(Rank from, Channel channel, std::int64_t tag, Tensor const& data, Mover& mover) {
  std::list<Message> one;
  gate_.update([&] {
    if (!spare_.empty()) one.splice(one.begin(), spare_, spare_.begin());
    return false;
  });
  if (one.empty()) one.emplace_back();
  one.front().from = from, one.front().channel = channel, one.front().tag = tag;
  one.front().bytes.resize(static_cast<std::size_t>(data.bytes()));
  mover.to_host(data.raw(), one.front().bytes.data(), data.bytes());
  gate_.update([&] {
    messages_.splice(messages_.end(), one);
    return true;
  });
}

void Mailbox::take(Rank from, Channel channel, std::int64_t tag, Tensor const& data, Mover& mover) {
  std::list<Message> one;
  gate_.wait([&] {
    auto const found = std::find_if(messages_.begin(), messages_.end(), [&](Message const& m) {
      return m.from == from && m.channel == channel && m.tag == tag;
    });
    if (found == messages_.end()) return false;
    one.splice(one.begin(), messages_, found);
    return true;
  });
  std::vector<std::byte> const& bytes = one.front().bytes;
  validate(static_cast<std::int64_t>(bytes.size()) == data.bytes(), "A message of ", bytes.size(), " bytes from rank ",
           from, " came where ", data.bytes(), " were expected (tag ", tag,
           "). This is a defect of Selenite; please report it.");
  mover.from_host(bytes.data(), data.raw(), data.bytes());
  gate_.update([&] {
    spare_.splice(spare_.begin(), one);
    return false;
  });
}

void Mailbox::wake() {
  gate_.update([] { return true; });
}

ThreadJob::ThreadJob(std::int64_t world) : control_(stop_, world) {
  stop_.crowded = world > static_cast<std::int64_t>(std::thread::hardware_concurrency());
  for (std::int64_t r = 0; r < world; ++r) boxes_.emplace_back(stop_);
}

Meeting& ThreadJob::group(unsigned bits, Rank first, std::int64_t members) {
  std::lock_guard lock(mutex_);
  return groups_.try_emplace({bits, first}, stop_, members).first->second;
}

void ThreadJob::clear_groups() {
  std::lock_guard lock(mutex_);
  groups_.clear();
}

namespace {
bool is_cause(std::exception_ptr const& error) {
  if (!error) return false;
  try {
    std::rethrow_exception(error);
  } catch (Stopped const&) {
    return false;
  } catch (...) {
    return true;
  }
}
}  // namespace

Aborted::Aborted(Rank rank, int exit_code)
    : Error(concat("rank ", rank, ": The job was ended with exit code ", exit_code,
                   " (a rank asked for it). See its messages.")),
      code(exit_code) {}

void ThreadJob::fail(Rank rank, std::exception_ptr error) {
  std::lock_guard lock(mutex_);
  if (!error_ && is_cause(error)) error_ = std::move(error), failed_ = rank;
  stop_.raised.store(true, std::memory_order_release);
  control_.wake();
  for (Mailbox& box : boxes_) box.wake();
  for (auto& [name, group] : groups_) group.wake();
}

void ThreadJob::abort(Rank rank, int code) {
  Aborted const error(rank, code);
  {
    std::lock_guard lock(mutex_);
    aborted_ = code;
  }
  fail(rank, std::make_exception_ptr(error));
  ended_.notify_all();
  throw error;
}

void ThreadJob::post_note(Rank to, std::string const& note) {
  std::lock_guard lock(notes_mutex_);
  notes_[to].push_back(note);
}

std::optional<std::string> ThreadJob::take_note(Rank rank) {
  std::lock_guard lock(notes_mutex_);
  auto& notes = notes_[rank];
  if (notes.empty()) return std::nullopt;
  std::optional<std::string> note = std::move(notes.front());
  notes.pop_front();
  return note;
}

void ThreadJob::left() {
  {
    std::lock_guard lock(mutex_);
    ++left_;
  }
  ended_.notify_all();
}

void ThreadJob::wait_until_left(std::int64_t ranks) {
  constexpr std::chrono::seconds patience(2);
  auto const all = [&] { return left_ == ranks; };
  std::unique_lock lock(mutex_);
  ended_.wait(lock, [&] { return all() || aborted_; });
  if (!ended_.wait_for(lock, patience, all)) std::_Exit(*aborted_);
}

void ThreadJob::rethrow() const {
  if (!error_) return;
  if (world() == 1) std::rethrow_exception(error_);
  try {
    std::rethrow_exception(error_);
  } catch (Aborted const&) {
    throw;
  } catch (std::exception const& e) {
    throw Error(concat("rank ", failed_, ": ", e.what()));
  }
}

}  // namespace selenite
