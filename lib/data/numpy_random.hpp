#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <utility>

namespace selenite {

/// numpy.random.RandomState(seed), draw for draw: data orders that other suites make with numpy come out the same here.
class NumpyRandom {
 public:
  explicit NumpyRandom(std::uint32_t seed) : engine_(seed) {}

  std::uint32_t next32() { return static_cast<std::uint32_t>(engine_()); }
  std::uint64_t next64() {
    std::uint64_t const high = next32();
    return high << 32 | next32();
  }
  /// Uniform in [0, 1) with 53 bits, as random() and random_sample() give.
  double random() {
    std::uint64_t const high = next32() >> 5, low = next32() >> 6;
    return static_cast<double>(high << 26 | low) / 9007199254740992.0;
  }
  /// Uniform in [0, last], both ends included: draws are masked to the bits of `last` and repeated while beyond it.
  std::uint64_t interval(std::uint64_t last) {
    if (last == 0) return 0;
    std::uint64_t const mask = ~std::uint64_t{0} >> std::countl_zero(last);
    std::uint64_t value = 0;
    do value = (last <= 0xffffffffu ? next32() : next64()) & mask;
    while (value > last);
    return value;
  }
  /// Uniform in [low, high), as randint(low, high) with its default type.
  std::int64_t randint(std::int64_t low, std::int64_t high) {
    return low +
           static_cast<std::int64_t>(interval(static_cast<std::uint64_t>(high) - static_cast<std::uint64_t>(low) - 1));
  }
  /// Fisher-Yates from the back. Two things make it several times faster than one interval() after the other, with the
  /// same result: a draw beyond the bound is overwritten rather than branched over (a quarter of them are, at random),
  /// and the partners are drawn a block ahead, so that their cache lines arrive before they are swapped.
  template <class T>
  void shuffle(std::span<T> values) {
    constexpr std::size_t block = 128;
    std::array<std::size_t, block> partners;
    for (std::size_t left = values.size(); left > 1;) {
      std::size_t const last = left - 1;  // the first bound of this block; each swap lowers it by one
      std::size_t const mask = ~std::size_t{0} >> std::countl_zero(last);
      std::size_t const count = std::min(block, last - (mask >> 1));  // as long as the mask stays
      for (std::size_t i = 0; i < count;) {
        std::size_t const value = (last <= 0xffffffffu ? next32() : next64()) & mask;
        __builtin_prefetch(values.data() + value, 1);
        partners[i] = value;
        i += value <= last - i;
      }
      for (std::size_t i = 0; i < count; ++i) std::swap(values[last - i], values[partners[i]]);
      left -= count;
    }
  }

 private:
  // std::mt19937 with 32-bit words, for speed: the same generator and seeding as numpy's.
  std::mersenne_twister_engine<std::uint32_t, 32, 624, 397, 31, 0x9908b0df, 11, 0xffffffff, 7, 0x9d2c5680, 15,
                               0xefc60000, 18, 1812433253>
      engine_;
};

}  // namespace selenite
