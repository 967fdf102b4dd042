#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/error.hpp"

/// Checked versions of what kernels/cuda/checked.cuh declares.
namespace selenite {
namespace shim {

/// Addresses of memory that takes no room until it is written to; null if there are none.
void* reserve_addresses(std::size_t bytes);
/// False: it is none of these.
bool release_addresses(void* memory);

/// Bytes of static shared memory: filled with NaN before each block from now on, as on a device nothing can be expected
/// to be there.
void register_shared(void* bytes, std::size_t size);
/// Bytes of them, on this thread so far.
std::size_t registered_shared();
void poison_shared();
/// Of the running block.
std::byte* dynamic_shared_bytes();
std::size_t dynamic_shared_size();
/// Copies of a thread, to shared memory, that wait until it asks for them; their targets are NaN until then. Forgotten
/// by poison_shared(). The last `zeros` bytes are not read: they become 0.
void start_copy(int thread, void* to, void const* from, std::size_t bytes, std::size_t zeros);
void commit_copies(int thread);
/// All but the last `batches` that were committed.
void finish_copies(int thread, std::size_t batches);
[[noreturn]] void out_of_bounds(std::int64_t index, std::int64_t size);
/// Throws Error where these bytes are in no array of shared memory.
void expect_shared(void const* bytes, std::size_t size);
[[noreturn]] void misaligned(void const* p, std::size_t alignment);

}  // namespace shim

template <class T, int size>
struct SharedArray {
  SharedArray() { shim::register_shared(elements, sizeof elements); }
  T& operator[](int i) {
    if (i < 0 || i >= size) shim::out_of_bounds(i, size);
    return elements[i];
  }
  T elements[size];
};

template <class T>
struct DynamicShared {
  T* elements;
  T& operator[](int i) const {
    auto const size = static_cast<std::int64_t>(shim::dynamic_shared_size() / sizeof(T));
    if (i < 0 || i >= size) shim::out_of_bounds(i, size);
    return elements[i];
  }
};
template <class T>
DynamicShared<T> dynamic_shared() {
  return {reinterpret_cast<T*>(shim::dynamic_shared_bytes())};
}

template <class Unit>
void expect_aligned(void const* p) {
  if (reinterpret_cast<std::uintptr_t>(p) % sizeof(Unit) != 0) shim::misaligned(p, sizeof(Unit));
}

inline float exp2_of(float x) { return std::exp2(x); }
inline void keep_loads_behind() {}
inline float larger(float a, float b) { return b > a || std::isnan(a) ? b : a; }

inline std::uint32_t pick_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  std::uint64_t const bytes = a | static_cast<std::uint64_t>(b) << 32;
  std::uint32_t picked = 0;
  for (int i = 0; i < 4; ++i)
    picked |= static_cast<std::uint32_t>(bytes >> (selector >> (4 * i) & 7u) * 8 & 0xffu) << (8 * i);
  return picked;
}

}  // namespace selenite
