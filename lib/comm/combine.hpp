#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/collectives.hpp"

// How the backends on the host cut and add what they reduce: the same on all of them, so that they agree to the bit.

namespace selenite {

/// An all-reduce goes in blocks: of each, every rank reduces one piece of at most so many bytes.
constexpr std::int64_t piece_bytes = 1 << 20;

/// [first, last) elements that rank `index` of n reduces, of a block of `count` elements.
struct Share {
  std::int64_t first, last;
  std::int64_t count() const { return last - first; }
};
constexpr Share share_of(std::int64_t count, std::int64_t n, std::int64_t index) {
  return {count * index / n, count * (index + 1) / n};
}
/// Elements of a block of an all-reduce over n ranks.
constexpr std::int64_t block_elements(std::int64_t element_bytes, std::int64_t n) {
  return piece_bytes / element_bytes * n;
}
/// Calls body(first, count) for the blocks of an all-reduce of `count` elements over n ranks.
template <class Body>
void for_blocks(std::int64_t count, std::int64_t element_bytes, std::int64_t n, Body&& body) {
  std::int64_t const block = block_elements(element_bytes, n);
  for (std::int64_t first = 0; first < count; first += block)
    body(first, block < count - first ? block : count - first);
}

/// out[i] = parts[0][i] + parts[1][i] + ... (or the largest) in this order, in fp32 (fp64 for fp64), for `count`
/// elements; out may be one of the parts. Throws Error for dtypes that are not reduced.
void combine(DType dtype, std::vector<std::byte const*> const& parts, std::byte* out, std::int64_t count,
             Reduction reduction);

}  // namespace selenite
