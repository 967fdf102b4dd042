#pragma once
#include <limits>
#include <type_traits>

#include "kernels/attention/mask.hpp"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rows.cuh"

namespace selenite {

/// Places of a chunk's tokens on the device, as Places of mask.hpp has them.
struct DevicePlaces {
  RowsOf<std::int32_t const> positions, starts;  ///< null: index, one document a sample
  __device__ Place operator()(std::int64_t sample, int index) const {
    return {positions.data ? positions[sample][index] : index, starts.data ? starts[sample][index] : 0};
  }
};
inline bool are_indices(AttentionPlaces const& places) {
  return !places.positions.defined() && !places.document_starts.defined();
}
inline DevicePlaces places_of(AttentionPlaces const& places) {
  return {rows_of<std::int32_t const>(places.positions), rows_of<std::int32_t const>(places.document_starts)};
}

namespace attention_cuda {

struct Least {
  __device__ std::int32_t operator()(std::int32_t a, std::int32_t b) const { return a < b ? a : b; }
};
struct Greatest {
  __device__ std::int32_t operator()(std::int32_t a, std::int32_t b) const { return a > b ? a : b; }
};

/// Of tokens [first, first + count), at least one; by a whole warp.
__device__ inline PlaceRange range_of(DevicePlaces const& places, std::int64_t sample, int first, int count) {
  if (!places.positions.data && !places.starts.data) return {first, first + count - 1, 0, 0};
  constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
  PlaceRange range{most, -most, most, -most};
  for (int i = static_cast<int>(threadIdx.x) % warp_size; i < count; i += warp_size) {
    Place const place = places(sample, first + i);
    range.first = Least{}(range.first, place.position), range.last = Greatest{}(range.last, place.position);
    range.first_start = Least{}(range.first_start, place.document_start);
    range.last_start = Greatest{}(range.last_start, place.document_start);
  }
  return {warp_reduce(range.first, Least{}), warp_reduce(range.last, Greatest{}),
          warp_reduce(range.first_start, Least{}), warp_reduce(range.last_start, Greatest{})};
}

/// The places of a block of keys, in shared memory.
template <int capacity>
struct SharedPlaces {
  SharedArray<std::int32_t, capacity> positions, starts;
  /// By all threads of a block of at least `capacity`; a barrier must follow.
  __device__ void load(DevicePlaces const& places, std::int64_t sample, int first, int count) {
    int const i = static_cast<int>(threadIdx.x);
    if (i >= count) return;
    Place const place = places(sample, first + i);
    positions[i] = place.position, starts[i] = place.document_start;
  }
  __device__ Place operator[](int i) { return {positions[i], starts[i]}; }
};

/// One bit a key.
template <int keys>
using KeyBits = std::conditional_t<keys <= 32, std::uint32_t, std::uint64_t>;

/// Bit j: the query sees key first + j of the block; none of the keys from `count` on.
template <int keys, int capacity>
__device__ KeyBits<keys> visible_bits(bool causal, Place query, SharedPlaces<capacity>& places, int first, int count) {
  KeyBits<keys> bits = 0;
  int const n = count - first < keys ? count - first : keys;
#pragma unroll 1
  for (int j = 0; j < n; ++j) bits |= static_cast<KeyBits<keys>>(sees(causal, query, places[first + j])) << j;
  return bits;
}

/// A head's dropout.
struct HeadDropout {
  AttentionDropout masks;
  std::uint64_t sample, head;

  /// Bit j: the probability of key first + j of the block is kept. Keys next to each other share draws.
  template <int keys, int capacity>
  __device__ KeyBits<keys> kept_bits(Place query, SharedPlaces<capacity>& places, int first, int count) const {
    KeyBits<keys> bits = 0;
    std::uint64_t octet = ~std::uint64_t{0};
    std::uint32_t dropped = 0;
    int const n = count - first < keys ? count - first : keys;
#pragma unroll 1
    for (int j = 0; j < n; ++j) {
      auto const at = static_cast<std::uint64_t>(places.positions[first + j]);
      if (at / 8 != octet) {
        octet = at / 8;
        dropped = masks.dropped(sample, head, static_cast<std::uint64_t>(query.position), octet);
      }
      bits |= static_cast<KeyBits<keys>>(~dropped >> (at % 8) & 1u) << j;
    }
    return bits;
  }
};

}  // namespace attention_cuda
}  // namespace selenite
