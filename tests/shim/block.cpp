#include "tests/shim/block.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "tests/shim/fiber.hpp"
#include "tests/shim/memory.hpp"
#include "tests/shim/warpgroup.hpp"

__thread uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace selenite::shim {
namespace {

constexpr int warp_size = 32, group_size = 128, most_threads = 1024;

struct Thread {
  std::unique_ptr<Fiber> fiber;
  uint3 index{};
  enum { ready, at_block_barrier, at_group_barrier, at_warp_exchange, done } state = ready;
  At at;              // where it waits
  unsigned mask = 0;  // of the exchange that it waits for, or had last
  bool gives = false;
  std::uint64_t given = 0;
  Operands const* shares = nullptr;
  std::array<std::uint64_t, warp_size> received{};  // what the lanes gave to the last exchange
};

/// The block that runs on this OS thread. Its fibers are kept from launch to launch.
class Block {
 public:
  void run(int threads, dim3 shape, std::function<void()> const& body);
  void set_order(Order order) { order_ = order; }
  /// Numbers [0, count) in the order of the launches.
  std::vector<unsigned> ordered(unsigned count);

  Thread& current() { return threads_[static_cast<std::size_t>(current_)]; }
  int current_thread() const { return current_; }
  int current_lane() const { return current_ % warp_size; }
  void block_barrier(At at);
  int block_or(int value, At at);
  int group_or(int value, At at);
  void warp_exchange(unsigned mask, std::uint64_t value, At at);
  void warp_barrier(unsigned mask, At at);
  SharedOperands& share_operands(Operands const& mine, At at);

  /// Aligned as checked.cuh has it.
  struct alignas(128) SharedLine {
    std::byte bytes[128];
  };
  std::vector<SharedLine> dynamic_shared;
  std::size_t dynamic_shared_bytes = 0;

 private:
  void begin(int threads, dim3 shape);
  bool run_warp(int warp);
  void resume(int thread);
  void release_block_barrier();
  bool release_group_barriers();
  void expect_same_place(int first, int count) const;
  void wait_for_warp(unsigned mask, At at);
  void release_warp_exchange(int warp);
  bool complete(int warp, Thread const& waiting) const;
  [[noreturn]] void deadlock() const;
  std::string describe(int thread) const;

  std::vector<Thread> threads_;
  std::function<void()> const* body_ = nullptr;
  std::exception_ptr error_;
  int count_ = 0, warps_ = 0, current_ = 0, done_ = 0, waiting_ = 0;
  /// Results of a barrier are read while the next one gathers.
  struct Votes {
    int all[2] = {0, 0}, phase = 0;
    int& now() { return all[phase]; }
    void turn() { phase ^= 1, now() = 0; }
  };
  Votes votes_;
  std::array<Votes, most_threads / group_size> group_votes_{};
  Order order_ = Order::forward;
  std::array<int, warp_size> lanes_{};  // in their order
  // Of each warp: nothing is added before all its lanes wait again, and have read.
  std::vector<SharedOperands> operands_;
  std::mt19937 random_{2026};
};

Block& block() {
  thread_local Block block;
  return block;
}

std::vector<unsigned> Block::ordered(unsigned count) {
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (order_ == Order::reverse) std::reverse(order.begin(), order.end());
  if (order_ == Order::shuffled) std::shuffle(order.begin(), order.end(), random_);
  return order;
}

void Block::begin(int threads, dim3 shape) {
  count_ = threads, warps_ = (threads + warp_size - 1) / warp_size, done_ = waiting_ = 0;
  votes_ = {}, group_votes_ = {};
  if (threads_.size() < static_cast<std::size_t>(threads)) threads_.resize(static_cast<std::size_t>(threads));
  operands_.resize(static_cast<std::size_t>(warps_));
  for (int i = 0; i < threads; ++i) {
    Thread& t = threads_[static_cast<std::size_t>(i)];
    auto const u = static_cast<unsigned>(i);
    t.index = {u % shape.x, u / shape.x % shape.y, u / shape.x / shape.y};
    t.state = Thread::ready;
    if (t.fiber) continue;
    t.fiber = std::make_unique<Fiber>([this] {
      try {
        (*body_)();
      } catch (...) {
        if (!error_) error_ = std::current_exception();
      }
      current().state = Thread::done;
    });
  }
}

void Block::run(int threads, dim3 shape, std::function<void()> const& body) {
  body_ = &body;
  std::iota(lanes_.begin(), lanes_.end(), 0);
  if (order_ == Order::reverse) std::reverse(lanes_.begin(), lanes_.end());
  begin(threads, shape);
  poison_shared();
  if (!dynamic_shared.empty())
    std::memset(static_cast<void*>(dynamic_shared.data()), 0xff, dynamic_shared.size() * sizeof(SharedLine));
  try {
    while (done_ < count_) {
      bool moved = false;
      for (unsigned const warp : ordered(static_cast<unsigned>(warps_))) moved |= run_warp(static_cast<int>(warp));
      moved |= release_group_barriers();
      if (done_ < count_ && waiting_ == count_)
        release_block_barrier();
      else if (!moved && done_ < count_)
        deadlock();
    }
    expect_no_products();
  } catch (...) {
    threads_.clear();  // their fibers are left in the middle
    throw;
  }
}

/// As far as it gets. Whether any of its threads ran.
bool Block::run_warp(int warp) {
  bool moved = false;
  for (bool again = true; again;) {
    again = false;
    if (order_ == Order::shuffled) std::shuffle(lanes_.begin(), lanes_.end(), random_);
    for (int const lane : lanes_) {
      int const i = warp * warp_size + lane;
      if (i >= count_ || threads_[static_cast<std::size_t>(i)].state != Thread::ready) continue;
      resume(i);
      again = moved = true;
    }
    release_warp_exchange(warp);
  }
  return moved;
}

void Block::resume(int thread) {
  current_ = thread;
  Thread& t = current();
  threadIdx = t.index;
  t.fiber->resume();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
  if (t.state == Thread::done) ++done_;
  if (t.state == Thread::at_block_barrier) ++waiting_;
}

void Block::expect_same_place(int first, int count) const {
  At const& place = threads_[static_cast<std::size_t>(first)].at;
  for (int i = first; i < first + count; ++i) {
    At const& at = threads_[static_cast<std::size_t>(i)].at;
    if (at.line() == place.line() && std::string_view(at.file_name()) == place.file_name()) continue;
    throw Error(concat("Threads of a block wait at different barriers (", describe(first), "; ", describe(i),
                       "). Let all threads of the block, or of the warpgroup, reach the same one."));
  }
}

/// All threads must be at the same barrier: an exited one is missing, as the language has it.
void Block::release_block_barrier() {
  expect_same_place(0, count_);
  for (int i = 0; i < count_; ++i) threads_[static_cast<std::size_t>(i)].state = Thread::ready;
  waiting_ = 0, votes_.turn();
}
bool Block::release_group_barriers() {
  bool any = false;
  for (int first = 0; first + group_size <= count_; first += group_size) {
    auto const begin = threads_.begin() + first, end = begin + group_size;
    if (!std::all_of(begin, end, [](Thread const& t) { return t.state == Thread::at_group_barrier; })) continue;
    expect_same_place(first, group_size);
    std::for_each(begin, end, [](Thread& t) { t.state = Thread::ready; });
    group_votes_[static_cast<std::size_t>(first / group_size)].turn();
    any = true;
  }
  return any;
}

/// Whether all threads of the mask are there, in the same place.
bool Block::complete(int warp, Thread const& waiting) const {
  for (int lane = 0; lane < warp_size; ++lane) {
    if (!(waiting.mask >> lane & 1u)) continue;
    int const i = warp * warp_size + lane;
    if (i >= count_) return false;
    Thread const& t = threads_[static_cast<std::size_t>(i)];
    if (t.state != Thread::at_warp_exchange || t.mask != waiting.mask || t.at.line() != waiting.at.line()) return false;
  }
  return true;
}

void Block::release_warp_exchange(int warp) {
  for (int lane = 0; lane < warp_size; ++lane) {
    int const i = warp * warp_size + lane;
    if (i >= count_) return;
    Thread const& t = threads_[static_cast<std::size_t>(i)];
    if (t.state != Thread::at_warp_exchange || !complete(warp, t)) continue;
    unsigned const mask = t.mask;
    bool const gives = t.gives, shares = t.shares;  // all are in the same place
    std::array<std::uint64_t, warp_size> values{};
    auto of_lane = [&](int l) -> Thread& { return threads_[static_cast<std::size_t>(warp * warp_size + l)]; };
    if (shares) operands_[static_cast<std::size_t>(warp)].has_result = false;
    for (int l = 0; shares && l < warp_size; ++l) operands_[static_cast<std::size_t>(warp)].of[l] = *of_lane(l).shares;
    for (int l = 0; gives && l < warp_size; ++l)
      if (mask >> l & 1u) values[static_cast<std::size_t>(l)] = of_lane(l).given;
    for (int l = 0; l < warp_size; ++l) {
      if (!(mask >> l & 1u)) continue;
      of_lane(l).state = Thread::ready;
      if (gives) of_lane(l).received = values;
    }
  }
}

std::string Block::describe(int thread) const {
  Thread const& t = threads_[static_cast<std::size_t>(thread)];
  if (t.state == Thread::done) return concat("thread ", thread, " has ended");
  char const* const what = t.state == Thread::at_block_barrier   ? " waits for the block at "
                           : t.state == Thread::at_group_barrier ? " waits for its warpgroup at "
                                                                 : " waits for its warp at ";
  return concat("thread ", thread, what, t.at.file_name(), ":", t.at.line());
}

void Block::deadlock() const {
  std::string text;
  std::string_view file;
  int state = -1, shown = 0;
  unsigned line = 0;
  for (int i = 0; i < count_ && shown < 8; ++i) {
    Thread const& t = threads_[static_cast<std::size_t>(i)];
    bool const same =
        t.state == state && (t.state == Thread::done || (t.at.line() == line && t.at.file_name() == file));
    state = t.state, line = t.at.line(), file = t.at.file_name();
    if (same) continue;
    text += (shown++ ? "; " : "") + describe(i);
  }
  throw Error(concat("The threads of a block wait for each other in vain (", text,
                     "). Let all threads of the block, or of the mask, reach the same barrier."));
}

void Block::block_barrier(At at) {
  Thread& t = current();
  t.at = at, t.state = Thread::at_block_barrier;
  t.fiber->yield();
}
int Block::block_or(int value, At at) {
  int const phase = votes_.phase;
  votes_.now() |= value != 0;
  block_barrier(at);
  return votes_.all[phase];
}
int Block::group_or(int value, At at) {
  Votes& votes = group_votes_[static_cast<std::size_t>(current_ / group_size)];
  int const phase = votes.phase;
  votes.now() |= value != 0;
  Thread& t = current();
  t.at = at, t.state = Thread::at_group_barrier;
  t.fiber->yield();
  return votes.all[phase];
}

void Block::warp_exchange(unsigned mask, std::uint64_t value, At at) {
  current().gives = true, current().given = value, current().shares = nullptr;
  wait_for_warp(mask, at);
}
void Block::warp_barrier(unsigned mask, At at) {
  current().gives = false, current().shares = nullptr;
  wait_for_warp(mask, at);
}
SharedOperands& Block::share_operands(Operands const& mine, At at) {
  current().gives = false, current().shares = &mine;
  wait_for_warp(0xffffffffu, at);
  return operands_[static_cast<std::size_t>(current_ / warp_size)];
}

void Block::wait_for_warp(unsigned mask, At at) {
  Thread& t = current();
  auto const lane = static_cast<std::size_t>(current_lane());
  validate(mask >> lane & 1u, "A thread is not in the mask of its own exchange (lane ", lane, ", ", at.file_name(), ":",
           at.line(), "). Name every thread that takes part.");
  t.at = at, t.mask = mask, t.state = Thread::at_warp_exchange;
  t.fiber->yield();
}

}  // namespace

void set_order(Order order) { block().set_order(order); }

bool launchable(dim3 grid, dim3 shape) {
  auto within = [](unsigned n, unsigned most) { return n > 0 && n <= most; };
  return within(grid.x, 0x7fffffffu) && within(grid.y, 65535) && within(grid.z, 65535) &&
         within(shape.x, most_threads) && within(shape.y, most_threads) && within(shape.z, 64) &&
         within(shape.x * shape.y * shape.z, most_threads);
}

namespace {
constexpr std::size_t unasked_shared = 48 << 10;
struct Asked {
  std::mutex mutex;
  std::map<void const*, std::size_t> bytes;
};
Asked& asked() {
  static Asked all;
  return all;
}
}  // namespace

namespace {
thread_local bool skipped = false;
}  // namespace
SkippedWork::SkippedWork() { skipped = true; }
SkippedWork::~SkippedWork() { skipped = false; }
bool skips_work() { return skipped; }

void ask_for_shared(void const* kernel, std::size_t bytes) {
  std::lock_guard const lock(asked().mutex);
  asked().bytes[kernel] = bytes;
}

/// Static arrays become known as a kernel first runs on a thread.
std::map<void const*, std::size_t>& static_bytes() {
  thread_local std::map<void const*, std::size_t> of_kernels;
  return of_kernels;
}
void expect_asked(void const* kernel, std::size_t dynamic_bytes, std::size_t own) {
  std::lock_guard const lock(asked().mutex);
  auto const found = asked().bytes.find(kernel);
  std::size_t const most =
      found == asked().bytes.end() ? unasked_shared : std::max(found->second + own, unasked_shared);
  validate(own + dynamic_bytes <= most, "A block has ", own, " bytes of static and ", dynamic_bytes,
           " of dynamic shared memory (it gets ", most,
           " unless more is asked for by cudaFuncSetAttribute). A device refuses the launch: ask, or use less.");
}

void run_grid(void const* kernel, dim3 grid, dim3 shape, std::size_t shared_bytes, std::function<void()> const& body) {
  if (skips_work()) {
    auto const known = static_bytes().find(kernel);
    return expect_asked(kernel, shared_bytes, known == static_bytes().end() ? unknown_static : known->second);
  }
  std::size_t const registered_before = registered_shared();
  Block& b = block();
  b.dynamic_shared.resize((shared_bytes + 127) / 128), b.dynamic_shared_bytes = shared_bytes;
  blockDim = {shape.x, shape.y, shape.z}, gridDim = {grid.x, grid.y, grid.z};
  for (unsigned const i : b.ordered(grid.x * grid.y * grid.z)) {
    blockIdx = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
    b.run(static_cast<int>(shape.x * shape.y * shape.z), shape, body);
  }
  std::size_t const own = static_bytes().try_emplace(kernel, registered_shared() - registered_before).first->second;
  expect_asked(kernel, shared_bytes, own);
}

int thread() { return block().current_thread(); }
int lane() { return block().current_lane(); }
void block_barrier(At at) { block().block_barrier(at); }
int block_or(int value, At at) { return block().block_or(value, at); }
int group_or(int value, At at) { return block().group_or(value, at); }
void warp_exchange(unsigned mask, std::uint64_t value, At at) { block().warp_exchange(mask, value, at); }
void warp_barrier(unsigned mask, At at) { block().warp_barrier(mask, at); }
SharedOperands& share_operands(Operands const& mine, At at) { return block().share_operands(mine, at); }

std::uint64_t exchanged(int lane, At at) {
  Thread const& t = block().current();
  validate(t.mask >> lane & 1u, "A thread reads from lane ", lane, ", which takes no part (", at.file_name(), ":",
           at.line(), "). Put it into the mask, or read from another.");
  return t.received[static_cast<std::size_t>(lane)];
}
unsigned ballot(unsigned mask, bool predicate, At at) {
  warp_exchange(mask, predicate, at);
  unsigned bits = 0;
  for (int l = 0; l < warp_size; ++l)
    if (mask >> l & 1u) bits |= static_cast<unsigned>(exchanged(l, at)) << l;
  return bits;
}

std::byte* dynamic_shared_bytes() { return reinterpret_cast<std::byte*>(block().dynamic_shared.data()); }
std::size_t dynamic_shared_size() { return block().dynamic_shared_bytes; }

}  // namespace selenite::shim
