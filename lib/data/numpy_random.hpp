#pragma once
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
  /// Fisher-Yates from the back. The partners are drawn a block ahead, which changes nothing but lets their cache lines
  /// arrive before they are swapped: on large arrays the wait for memory is most of the time.
  template <class T>
  void shuffle(std::span<T> values) {
    constexpr std::size_t block = 64;
    std::array<std::size_t, block> partners;
    for (std::size_t left = values.size(); left > 1;) {
      std::size_t const count = left - 1 < block ? left - 1 : block;
      for (std::size_t i = 0; i < count; ++i) {
        partners[i] = interval(left - 1 - i);
        __builtin_prefetch(&values[partners[i]], 1);
      }
      for (std::size_t i = 0; i < count; ++i) std::swap(values[left - 1 - i], values[partners[i]]);
      left -= count;
    }
  }

 private:
  std::mt19937 engine_;  // the same generator and seeding as numpy's
};

}  // namespace selenite
