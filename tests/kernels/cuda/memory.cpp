// All memory that these tests allocate can be seen by the device: it reads and writes tensors wherever a test has put
// them, in a table's or in a std::vector. It is pinned before a launch, not when it is allocated, which happens before
// main and so before compute-sanitizer looks. Where speed is asked for (--run_test=@speed) it is managed instead, and
// moves into the device's own when kernels first touch it. Without a device the tests are skipped, and say so.
#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>
#include <mutex>
#include <new>
#include <string_view>
#include <sys/mman.h>

#include "backend.hpp"
#include "core/cuda.hpp"

namespace {

constexpr int skipped = 77;  // CTest's SKIP_RETURN_CODE
constexpr std::size_t region_bytes = std::size_t{16} << 30, smallest = 512, largest_alignment = 2 << 20,
                      pinned_at_once = 64 << 20;

/// One region of memory, given out in powers of two; what comes back is given out again.
class SharedHeap {
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
  /// What has been given out so far is the device's, too.
  void pin() {
    std::lock_guard const lock(mutex_);
    if (managed_ && !leaves_) leaves_ = on_exit(leave, nullptr) == 0;  // the last to be registered is the first to go
    if (managed_ || pinned_ >= used_) return;
    std::size_t const end = std::min(region_bytes, (used_ + pinned_at_once - 1) / pinned_at_once * pinned_at_once);
    opening_ = true;
    CUDA_CHECK(cudaHostRegister(begin_ + pinned_, end - pinned_, cudaHostRegisterDefault));
    opening_ = false;
    pinned_ = end;
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
  /// Memory is wanted before main sees its arguments.
  static bool asks_for_speed() {
    std::FILE* const file = std::fopen("/proc/self/cmdline", "rb");
    if (!file) return false;
    char text[4096];
    std::size_t const size = std::fread(text, 1, sizeof text, file);
    std::fclose(file);
    return std::string_view(text, size).find("@speed") != std::string_view::npos;
  }
  /// The runtime takes managed memory away before static objects are destroyed, so none are.
  static void leave(int code, void*) {
    std::fflush(nullptr);
    std::_Exit(code);
  }
  void open() {
    opening_ = true;
    sizes_ = static_cast<std::size_t*>(std::calloc(region_bytes / smallest, sizeof(std::size_t)));
    managed_ = asks_for_speed();
    void* memory = nullptr;
    if (managed_) {
      selenite::test::skip_without_device();
      CUDA_CHECK(cudaMallocManaged(&memory, region_bytes, cudaMemAttachGlobal));
    } else {
      memory = mmap(nullptr, region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED) throw std::bad_alloc();
    }
    begin_ = static_cast<std::byte*>(memory);
    opening_ = false;
  }
  /// Of the block that begins there.
  std::size_t& size_of_page(std::size_t at) { return sizes_[at / smallest]; }

  std::recursive_mutex mutex_;  // opening allocates
  bool opening_ = false, managed_ = false, leaves_ = false;
  std::byte* begin_ = nullptr;
  std::size_t* sizes_ = nullptr;
  std::size_t used_ = 0, pinned_ = 0;
  std::array<Block*, 64> free_{};
};

SharedHeap& heap() {
  static SharedHeap heap;
  return heap;
}

}  // namespace

namespace selenite::test {
void skip_without_device() {
  if (cuda_devices() > 0) return;
  std::puts("Skipped: there is no CUDA device here.");
  std::fflush(stdout);
  std::_Exit(skipped);
}
void share_memory_with_device() { heap().pin(); }
}  // namespace selenite::test

void* operator new(std::size_t bytes) { return heap().allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return heap().allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { heap().release(memory); }
void operator delete(void* memory, std::size_t) noexcept { heap().release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { heap().release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { heap().release(memory); }
