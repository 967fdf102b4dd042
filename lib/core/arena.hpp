#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/tensor.hpp"

namespace selenite {

/// A region of one allocation, given out as a stack. Its base may be null: then it only measures, with the same
/// arithmetic, so that predicted bytes equal real bytes. Sizes are rounded up to `alignment`.
class Arena {
 public:
  static constexpr std::int64_t alignment = 256;
  /// What is permanent keeps the zeros of fresh memory; temporaries are poisoned in debug builds.
  enum class Use : std::uint8_t { temporary, permanent };
  /// `label` names the region in errors and the memory report; `capacity` is in bytes (unlimited while measuring).
  explicit Arena(std::string label, std::byte* base = nullptr, std::int64_t capacity = INT64_MAX,
                 Device device = Device::cpu, Use use = Use::temporary);

  /// A tensor at the top of the stack, uninitialized if temporary (NaN-filled in debug builds).
  Tensor allocate(DType dtype, Shape shape);
  std::int64_t mark() const { return top_; }
  /// Gives back all that was allocated after `mark`. In debug builds it is filled with NaN.
  void release(std::int64_t mark);
  std::int64_t peak() const { return peak_; }
  bool measuring() const { return base_ == nullptr; }
  std::string const& label() const { return label_; }
  std::byte* base() const { return base_; }

 private:
  void poison(std::int64_t begin, std::int64_t end) const;

  std::string label_;
  std::byte* base_;
  std::int64_t capacity_, top_ = 0, peak_ = 0;
  Device device_;
  Use use_;
};

/// Releases an arena to where it stood at construction.
class ScopedMark {
 public:
  explicit ScopedMark(Arena& arena) : arena_(arena), mark_(arena.mark()) {}
  ~ScopedMark() { arena_.release(mark_); }
  ScopedMark(ScopedMark const&) = delete;
  ScopedMark& operator=(ScopedMark const&) = delete;

 private:
  Arena& arena_;
  std::int64_t mark_;
};

constexpr std::int64_t align_up(std::int64_t value, std::int64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

/// Bytes that this machine can still give without swapping or killing; INT64_MAX if it does not say.
std::int64_t available_memory();

/// One allocation for a rank's whole plan, zero-filled. On the host: huge pages, first touched by all threads.
class Memory {
 public:
  enum class Kind : std::uint8_t { host, cuda, pinned };  ///< pinned: host memory that a CUDA device copies from and to
  Memory() = default;
  /// Throws Error with the bytes asked for and what there is if it can't be had.
  explicit Memory(std::int64_t bytes, Kind kind = Kind::host);
  /// Taken by somebody else, who knows how to free it.
  Memory(std::byte* base, std::int64_t bytes, void (*free)(std::byte*)) : base_(base), bytes_(bytes), free_(free) {}
  ~Memory();
  Memory(Memory&& other) noexcept : base_(other.base_), bytes_(other.bytes_), kind_(other.kind_), free_(other.free_) {
    other.base_ = nullptr;
  }
  Memory& operator=(Memory&& other) noexcept;
  std::byte* base() const { return base_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  void take_host_memory();

  std::byte* base_ = nullptr;
  std::int64_t bytes_ = 0;
  Kind kind_ = Kind::host;
  void (*free_)(std::byte*) = nullptr;
};

/// Copies packed bytes to host memory, or from it, whatever device they lie on; returns when done. What is read must be
/// finished: this waits for no lane.
void copy_to_host(void* to, std::byte const* from, std::int64_t bytes, Device device);
void copy_from_host(std::byte* to, void const* from, std::int64_t bytes, Device device);

}  // namespace selenite
