#pragma once
#include "core/rng.hpp"
#include "core/simd.hpp"

namespace selenite::simd {
inline namespace SELENITE_SIMD {

/// The words of as many counters as a vector has 64-bit lanes, in order: words 0..3 of the first counter, then of the
/// second...
struct PhiloxWords {
  Words first, second;
};

/// philox() of core/rng.hpp for lanes/2 counters. Word j of each counter lies in the low half of its 64-bit lane of
/// c[j]; what is in the high half does not matter, so that the ten rounds need neither masks nor shuffles.
SELENITE_INLINE PhiloxWords philox(Longs c0, Longs c1, Longs c2, Longs c3, std::uint64_t key) {
  std::uint64_t k0 = key & 0xffffffffu, k1 = key >> 32;
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    Longs const p0 = multiply_low(c0, Longs{} + 0xD2511F53u), p1 = multiply_low(c2, Longs{} + 0xCD9E8D57u);
    c0 = (p1 >> 32) ^ c1 ^ (Longs{} + k0), c1 = p1;
    c2 = (p0 >> 32) ^ c3 ^ (Longs{} + k1), c3 = p0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  Longs const a = (c0 & 0xffffffffu) | (c1 << 32), b = (c2 & 0xffffffffu) | (c3 << 32);
  Longs first, second;
  interleave(a, b, first, second);
  return {(Words)first, (Words)second};
}

/// 0, 1, 2, ... in the 64-bit lanes.
SELENITE_INLINE Longs count_up() {
  Longs v;
  for (int i = 0; i < lanes / 2; ++i) v[i] = static_cast<std::uint64_t>(i);
  return v;
}

/// Words one call of a stream below can write beyond those asked for.
inline constexpr std::int64_t philox_slack = 2 * lanes;

/// The words of hidden dropout (see pack_counter) of one token for quads [quad, quad + count): 4 * count words, and up
/// to philox_slack more.
SELENITE_INLINE void hidden_words(Words4 const& token, std::uint64_t key, std::int64_t quad, std::int64_t count,
                                  std::uint32_t* words) {
  Longs const c0 = Longs{} + token[0], c1 = Longs{} + token[1], c2 = Longs{} + token[2];
  for (std::int64_t i = 0; i < count; i += lanes / 2) {
    PhiloxWords const w = philox(c0, c1, c2, count_up() + static_cast<std::uint64_t>(quad + i), key);
    store(words + 4 * i, w.first);
    store(words + 4 * i + lanes, w.second);
  }
}

}  // namespace SELENITE_SIMD
}  // namespace selenite::simd
