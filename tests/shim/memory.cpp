#include "tests/shim/memory.hpp"

#include <cstring>
#include <vector>

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
}  // namespace

void register_shared(void* bytes, std::size_t size) {
  registered().push_back({bytes, size});
  std::memset(bytes, 0xff, size);
}
void poison_shared() {
  for (Bytes const& array : registered()) std::memset(array.begin, 0xff, array.size);
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
