#pragma once
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>

#include "tests/shim/types.hpp"

/// Kernels on the host. A block's threads are fibers of one OS thread; a thread runs until it waits at a barrier or a
/// warp's collective, a warp as far as it can before the next one runs. The order of threads, warps and blocks can be
/// chosen: a kernel that misses a barrier gives different results in some of them.
namespace selenite::shim {

/// The place in the source at which a thread waits.
using At = std::source_location;

enum class Order { forward, reverse, shuffled };
/// For the launches of this OS thread from now on.
void set_order(Order order);

/// Within the device's limits, and not empty.
bool launchable(dim3 grid, dim3 block);
/// The kernel's blocks may have so many bytes of dynamic shared memory, from now on.
void ask_for_shared(void const* kernel, std::size_t bytes);
/// Launches are checked and then skipped, as long as this lives: kernels, products and attention of real models, whose
/// memory is addresses alone. Of one kernel `unknown_static` bytes of static shared memory are counted until it has
/// run.
class SkippedWork {
 public:
  SkippedWork();
  ~SkippedWork();
  SkippedWork(SkippedWork const&) = delete;
  SkippedWork& operator=(SkippedWork const&) = delete;
};
bool skips_work();
constexpr std::size_t unknown_static = 2 << 10;

/// body() once for each thread of each block. Throws what a thread throws, and Error where threads wait for each other
/// in vain (with the threads and the places where they wait), or where a block has more shared memory than was asked
/// for.
void run_grid(void const* kernel, dim3 grid, dim3 block, std::size_t shared_bytes, std::function<void()> const& body);

// What a running thread calls.

/// Number of the thread in its block, and in its warp.
int thread();
int lane();
void block_barrier(At at);
/// Whether any thread of the block gave a value other than 0.
int block_or(int value, At at);
/// The same among the 128 threads of a warpgroup.
int group_or(int value, At at);
/// Waits for the warp's threads of `mask`; all must be at the same place with the same mask. `value` can be read by the
/// others until they next wait together.
void warp_exchange(unsigned mask, std::uint64_t value, At at);
/// The same without values: nothing can be read afterwards.
void warp_barrier(unsigned mask, At at);
/// What a lane gives to an instruction of its whole warp: registers, or addresses.
struct Operands {
  std::uint64_t words[3] = {};
};
/// What all lanes gave, and what the first one that goes on makes of it for all.
struct SharedOperands {
  Operands of[32];
  float result[16][8], wide[16][128];
  bool has_result;  ///< false at first
};
/// Waits for all lanes of the warp. To be read until the thread next waits with its warp.
SharedOperands& share_operands(Operands const& mine, At at);
/// What `lane` gave to the last exchange. Throws Error if it took no part.
std::uint64_t exchanged(int lane, At at);
unsigned ballot(unsigned mask, bool predicate, At at);

template <class V>
V shuffle(unsigned mask, V v, int from, At at) {
  static_assert(sizeof(V) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  warp_exchange(mask, bits, at);
  bits = exchanged(from, at);
  std::memcpy(&v, &bits, sizeof v);
  return v;
}

}  // namespace selenite::shim
