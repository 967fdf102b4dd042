#pragma once
#include "kernels/attention/warp_tile.cuh"

/// Attention dropout on tiles in registers. A draw decides on eight keys next to each other: lanes share draws.
namespace selenite::attention_cuda {

/// Of a lane's elements of a tile, those that are dropped: bit (i * col_tiles + j) * 2 + e.
using DroppedBits = std::uint64_t;

template <class Tile>
__device__ bool is_dropped(DroppedBits bits, int i, int j, int e) {
  static_assert(Tile::lane_values <= 64);
  return bits >> ((i * Tile::col_tiles + j) * 2 + e) & 1u;
}

/// Whether tokens [0, count) of a block, each eight from the first on, are octets of positions that draws decide on; by
/// a whole warp.
template <int capacity>
__device__ bool are_octets(SharedPlaces<capacity>& places, int count) {
  bool octets = true;
  for (int i = lane(); i < count; i += warp_size) {
    int const first = places.positions[i / 8 * 8];
    octets &= first % 8 == 0 && places.positions[i] == first + i % 8;
  }
  return __all_sync(0xffffffffu, octets);
}

/// Element by element, wherever the keys are: drops(i, j, e).
template <class Tile, class Drops>
__device__ DroppedBits dropped_one_by_one(Drops drops) {
  DroppedBits bits = 0;
#pragma unroll 1
  for (int n = 0; n < Tile::lane_values; ++n) {
    int const e = n % 2, j = n / 2 % Tile::col_tiles, i = n / 2 / Tile::col_tiles;
    bits |= static_cast<DroppedBits>(drops(i, j, e)) << n;
  }
  return bits;
}

/// Of a tile [query][key] whose keys are whole octets: `octet(j)` is that of its columns from 8 j on, `query(i)` the
/// position of row(i). The four lanes that share rows draw for every fourth octet each.
template <class Tile, class Query, class Octet>
__device__ DroppedBits dropped_of_rows(HeadDropout const& dropout, Query query, Octet octet) {
  constexpr int draws = Tile::col_tiles / 4;  // of a lane, a row
  static_assert(Tile::col_tiles % 4 == 0 && draws <= 2);
  int const quarter = lane() % 4;
  DroppedBits bits = 0;
#pragma unroll 1  // of more rows at once, registers would not hold what is drawn beside the sums
  for (int i = 0; i < Tile::lane_rows; i += 2) {
    std::uint32_t drawn = 0;  // a byte each
#pragma unroll
    for (int n = 0; n < 2 * draws; ++n)
      drawn |= dropout.masks.dropped(dropout.sample, dropout.head, query(i + n / draws), octet(quarter + n % draws * 4))
               << (8 * n);
#pragma unroll
    for (int from = 0; from < 4; ++from) {
      std::uint32_t const theirs = __shfl_sync(0xffffffffu, drawn, lane() / 4 * 4 + from) >> (2 * quarter);
#pragma unroll
      for (int n = 0; n < 2 * draws; ++n) {
        int const row = i + n / draws, j = from + n % draws * 4;
        bits |= static_cast<DroppedBits>(theirs >> (8 * n) & 3u) << ((row * Tile::col_tiles + j) * 2);
      }
    }
  }
  return bits;
}

/// Of a tile [key][query] whose keys are whole octets: `octet(i)` is that of the eight rows that row(i) is one of,
/// `query(j, e)` the position of col(j, e). The eight lanes that share columns draw for some octets each, for two
/// queries.
template <class Tile, class Query, class Octet>
__device__ DroppedBits dropped_of_columns(HeadDropout const& dropout, Query query, Octet octet) {
  constexpr int pairs = Tile::col_tiles * Tile::lane_rows, draws = pairs / 8;  // of octets and two queries
  static_assert(pairs % 8 == 0 && draws <= 2);
  int const eighth = lane() / 4;
  std::uint32_t drawn = 0;  // a byte each
#pragma unroll
  for (int n = 0; n < 2 * draws; ++n) {
    int const pair = n / 2 * 8 + eighth, i = pair % Tile::lane_rows, j = pair / Tile::lane_rows;
    drawn |= dropout.masks.dropped(dropout.sample, dropout.head, query(j, n % 2), octet(i)) << (8 * n);
  }
  DroppedBits bits = 0;
#pragma unroll
  for (int from = 0; from < 8; ++from) {
    std::uint32_t const theirs = __shfl_sync(0xffffffffu, drawn, from * 4 + lane() % 4) >> eighth;
#pragma unroll
    for (int n = 0; n < 2 * draws; ++n) {
      int const pair = n / 2 * 8 + from, i = pair % Tile::lane_rows, j = pair / Tile::lane_rows;
      bits |= static_cast<DroppedBits>(theirs >> (8 * n) & 1u) << ((i * Tile::col_tiles + j) * 2 + n % 2);
    }
  }
  return bits;
}

/// Of a tile [query][key]: `query(i)` is the position of row(i). `anywhere`: keys may not be whole octets.
template <class Tile, int capacity, class Query>
__device__ DroppedBits draw_by_queries(HeadDropout const& dropout, bool anywhere, Query query,
                                       SharedPlaces<capacity>& keys, int count) {
  auto at = [&](int i) { return static_cast<std::uint64_t>(query(i)); };
  auto key = [&](int n) { return static_cast<std::uint64_t>(keys.positions[n]); };
  if (!anywhere || are_octets(keys, count))
    return dropped_of_rows<Tile>(dropout, at, [&](int j) { return key(j * 8) / 8; });
  return dropped_one_by_one<Tile>([&](int i, int j, int e) {
    return dropout.masks.drops(dropout.sample, dropout.head, at(i), key(Tile::col(j, e)));
  });
}
/// Of a tile [key][query], whose keys are the block's from `first_key` on.
template <class Tile, int key_capacity, int query_capacity>
__device__ DroppedBits draw_by_keys(HeadDropout const& dropout, bool anywhere, SharedPlaces<key_capacity>& keys,
                                    int first_key, int count, SharedPlaces<query_capacity>& queries) {
  auto query = [&](int j, int e) { return static_cast<std::uint64_t>(queries.positions[Tile::col(j, e)]); };
  auto key = [&](int n) { return static_cast<std::uint64_t>(keys.positions[first_key + n]); };
  if (!anywhere || are_octets(keys, count))
    return dropped_of_columns<Tile>(dropout, query, [&](int i) { return key(i * 8) / 8; });
  return dropped_one_by_one<Tile>([&](int i, int j, int e) {
    return dropout.masks.drops(dropout.sample, dropout.head, query(j, e), key(Tile::row(i)));
  });
}

}  // namespace selenite::attention_cuda
