// All memory that these tests allocate is managed: the device reads and writes tensors wherever a test has put them, in
// a table's or in a std::vector, and what it uses again lies in its own memory (speed tables would measure the bus
// otherwise). Where host and device can't use such memory beside each other it is pinned. Without a device the tests
// are skipped, and say so.
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>
#include <mutex>
#include <new>

#include "core/cuda.hpp"

namespace {

constexpr int skipped = 77;  // CTest's SKIP_RETURN_CODE
constexpr std::size_t region_bytes = std::size_t{8} << 30, smallest = 512, largest_alignment = 2 << 20;

/// One region of memory that host and device use, given out in powers of two; what comes back is given out again.
class DeviceHeap {
 public:
  void* allocate(std::size_t bytes, std::size_t alignment) {
    std::lock_guard const lock(mutex_);
    if (!begin_ && !opening_) open();
    if (opening_) return std::aligned_alloc(smallest, std::bit_ceil(bytes + smallest));  // the runtime's own
    std::size_t const size = std::bit_ceil(bytes > alignment ? (bytes > smallest ? bytes : smallest) : alignment);
    Block*& free = free_[static_cast<std::size_t>(std::countr_zero(size))];
    if (free) {
      Block* const block = free;
      free = block->next;
      return block;
    }
    std::size_t const aligned = size < largest_alignment ? size : largest_alignment,
                      at = (used_ + aligned - 1) / aligned * aligned;
    if (at + size > region_bytes) throw std::bad_alloc();
    used_ = at + size;
    size_of_page(at) = size;
    return begin_ + at;
  }
  void release(void* memory) {
    if (!memory) return;
    auto* const p = static_cast<std::byte*>(memory);
    if (!begin_ || p < begin_ || p >= begin_ + region_bytes) return std::free(memory);
    std::lock_guard const lock(mutex_);
    std::size_t const size = size_of_page(static_cast<std::size_t>(p - begin_));
    Block*& free = free_[static_cast<std::size_t>(std::countr_zero(size))];
    free = new (memory) Block{free};
  }

 private:
  struct Block {
    Block* next;
  };
  void open() {
    opening_ = true;
    if (selenite::cuda_devices() == 0) {
      std::puts("Skipped: there is no CUDA device here.");
      std::fflush(stdout);
      std::_Exit(skipped);
    }
    sizes_ = static_cast<std::size_t*>(std::calloc(region_bytes / smallest, sizeof(std::size_t)));
    begin_ = take_region();
    opening_ = false;
  }
  static std::byte* take_region() {
    int together = 0;
    void* memory = nullptr;
    if (cudaDeviceGetAttribute(&together, cudaDevAttrConcurrentManagedAccess, 0) == cudaSuccess && together &&
        cudaMallocManaged(&memory, region_bytes) == cudaSuccess)
      return static_cast<std::byte*>(memory);
    return selenite::allocate_pinned(static_cast<std::int64_t>(region_bytes));
  }
  /// Of the block that begins there.
  std::size_t& size_of_page(std::size_t at) { return sizes_[at / smallest]; }

  std::recursive_mutex mutex_;  // opening allocates
  bool opening_ = false;
  std::byte* begin_ = nullptr;
  std::size_t* sizes_ = nullptr;
  std::size_t used_ = 0;
  std::array<Block*, 64> free_{};
};

DeviceHeap& heap() {
  static DeviceHeap heap;
  return heap;
}

}  // namespace

void* operator new(std::size_t bytes) { return heap().allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return heap().allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { heap().release(memory); }
void operator delete(void* memory, std::size_t) noexcept { heap().release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { heap().release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { heap().release(memory); }
