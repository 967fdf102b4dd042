#include "core/arena.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sys/mman.h>

#include "core/cuda.hpp"
#include "core/parallel_for.hpp"

namespace selenite {
namespace {
#ifdef SELENITE_POISON
constexpr bool poisoning = true;
#else
constexpr bool poisoning = false;
#endif
}  // namespace

Arena::Arena(std::string label, std::byte* base, std::int64_t capacity, Device device, Use use)
    : label_(std::move(label)), base_(base), capacity_(capacity), device_(device), use_(use) {}

void Arena::poison(std::int64_t begin, std::int64_t end) const {
  // 0xff bytes are a NaN in every floating type and -1 in every integer
  if (poisoning && use_ == Use::temporary && base_ && device_ == Device::cpu && end > begin)
    std::memset(base_ + begin, 0xff, static_cast<std::size_t>(end - begin));
}

Tensor Arena::allocate(DType dtype, Shape shape) {
  std::int64_t const bytes = align_up(shape.count() * size_of(dtype), alignment);
  validate(top_ + bytes <= capacity_, "The ", label_, " memory is too small (", bytes, " bytes asked for, ",
           capacity_ - top_, " of ", capacity_,
           " left): the plan and the run disagree. This is a defect of Selenite; please report it with the config.");
  Tensor tensor(base_ ? base_ + top_ : nullptr, dtype, shape, device_);
  poison(top_, top_ + bytes);
  top_ += bytes;
  peak_ = std::max(peak_, top_);
  return tensor;
}

void Arena::release(std::int64_t mark) {
  EXPECTS(mark <= top_);
  poison(mark, top_);
  top_ = mark;
}

std::int64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("MemAvailable:")) return std::stoll(line.substr(13)) * 1024;
  return INT64_MAX;
}

Memory::Memory(std::int64_t bytes, Kind kind) : bytes_(bytes), kind_(kind) {
  if (bytes == 0) return;
  if (kind == Kind::host)
    take_host_memory();
  else
    base_ = kind == Kind::cuda ? allocate_cuda(bytes) : allocate_pinned(bytes);
}

void Memory::take_host_memory() {
  std::int64_t const bytes = bytes_;
  constexpr std::int64_t huge = 2 << 20;
  std::int64_t const length = align_up(bytes, huge);
  void* p = mmap(nullptr, static_cast<std::size_t>(length), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  validate(p != MAP_FAILED, "Can't take ", bytes >> 20, " MiB of memory (the system refuses; ",
           available_memory() >> 20, " MiB are free). Use a smaller model, micro-batch or sequence, or more ranks.");
  base_ = static_cast<std::byte*>(p);
  bytes_ = length;
  madvise(p, static_cast<std::size_t>(length), MADV_HUGEPAGE);
  parallel_for(length, 64 << 20, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; i += 4096) base_[i] = std::byte{0};
  });
}

Memory::~Memory() {
  if (!base_) return;
  if (free_) {
    free_(base_);
    return;
  }
  if (kind_ == Kind::host) munmap(base_, static_cast<std::size_t>(bytes_));
  if (kind_ == Kind::cuda) free_cuda(base_);
  if (kind_ == Kind::pinned) free_pinned(base_);
}

void copy_to_host(void* to, std::byte const* from, std::int64_t bytes, Device device) {
  if (device == Device::cuda) return copy_cuda(to, from, bytes);
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
}
void copy_from_host(std::byte* to, void const* from, std::int64_t bytes, Device device) {
  if (device == Device::cuda) return copy_cuda(to, from, bytes);
  std::memcpy(to, from, static_cast<std::size_t>(bytes));
}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(bytes_, other.bytes_);
  std::swap(kind_, other.kind_);
  std::swap(free_, other.free_);
  return *this;
}

}  // namespace selenite
