#include "tests/shim/memory.hpp"

#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <utility>
#include <vector>

#include "tests/shim/warpgroup.hpp"

namespace selenite::shim {
namespace {
struct Bytes {
  void* begin;
  std::size_t size;
};
std::vector<Bytes>& registered() {
  thread_local std::vector<Bytes> arrays;
  return arrays;
}
struct Copy {
  void* to;
  void const* from;
  std::size_t bytes, zeros;
};
struct Copies {
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> committed;
};
std::vector<Copies>& under_way() {
  thread_local std::vector<Copies> threads;
  return threads;
}
Copies& copies_of(int thread) {
  auto const i = static_cast<std::size_t>(thread);
  if (under_way().size() <= i) under_way().resize(i + 1);
  return under_way()[i];
}
}  // namespace

namespace {
struct Reserved {
  std::mutex mutex;
  std::map<void*, std::size_t> sizes;
};
Reserved& reserved() {
  static Reserved all;
  return all;
}
}  // namespace

void* reserve_addresses(std::size_t bytes) {
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  std::lock_guard const lock(reserved().mutex);
  reserved().sizes[memory] = bytes;
  return memory;
}
bool release_addresses(void* memory) {
  std::lock_guard const lock(reserved().mutex);
  auto const found = reserved().sizes.find(memory);
  if (found == reserved().sizes.end()) return false;
  munmap(memory, found->second);
  reserved().sizes.erase(found);
  return true;
}

void start_copy(int thread, void* to, void const* from, std::size_t bytes, std::size_t zeros) {
  expect_shared(to, bytes);
  expect_unread(to, bytes);
  std::memset(to, 0xff, bytes);
  copies_of(thread).open.push_back({to, from, bytes, zeros});
}
void commit_copies(int thread) {
  Copies& copies = copies_of(thread);
  copies.committed.push_back(std::exchange(copies.open, {}));
}
void finish_copies(int thread, std::size_t batches) {
  for (auto& committed = copies_of(thread).committed; committed.size() > batches; committed.pop_front())
    for (Copy const& copy : committed.front()) {
      std::size_t const read = copy.bytes - copy.zeros;
      if (read > 0) std::memcpy(copy.to, copy.from, read);
      std::memset(static_cast<std::byte*>(copy.to) + read, 0, copy.zeros);
      copy_arrived(thread);
    }
}

void register_shared(void* bytes, std::size_t size) {
  registered().push_back({bytes, size});
  std::memset(bytes, 0xff, size);
}
std::size_t registered_shared() {
  std::size_t bytes = 0;
  for (Bytes const& array : registered()) bytes += array.size;
  return bytes;
}
void poison_shared() {
  for (Bytes const& array : registered()) std::memset(array.begin, 0xff, array.size);
  under_way().clear();
  forget_products();
}

void expect_shared(void const* bytes, std::size_t size) {
  auto within = [&](void const* begin, std::size_t all) {
    auto const offset = static_cast<std::byte const*>(bytes) - static_cast<std::byte const*>(begin);
    return offset >= 0 && static_cast<std::size_t>(offset) + size <= all;
  };
  if (within(dynamic_shared_bytes(), dynamic_shared_size())) return;
  for (Bytes const& array : registered())
    if (within(array.begin, array.size)) return;
  throw Error(concat("An access of ", size, " bytes at ", bytes,
                     " is out of bounds (no array of shared memory has it). Give the array more, or ask for less."));
}

void out_of_bounds(std::int64_t index, std::int64_t size) {
  throw Error(concat("Index ", index, " of a shared array is out of bounds (it has ", size,
                     " elements). Give it more, or ask for less."));
}
void misaligned(void const* p, std::size_t alignment) {
  throw Error(concat("An access of ", alignment, " bytes at ", p,
                     " is not aligned (a device refuses it). Use narrower accesses there."));
}

}  // namespace selenite::shim
