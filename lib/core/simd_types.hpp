#pragma once
#include <bit>
#include <cstdint>

#include "core/dtype.hpp"

// Vectors of a fixed number of lanes for the CPU kernels, on the compiler's vector types. Everything is force-inlined
// and lies in a namespace named after the instruction set: files built for different processors can be linked together.
#define SELENITE_INLINE inline __attribute__((always_inline))
// Behind the parameters of a lambda that must be inlined into the loop that calls it.
#define SELENITE_LAMBDA __attribute__((always_inline))

// Floats, Ints, Words: `count` lanes of 32 bits; Halves: as many of 16, Bytes of 8; Longs, Doubles: half as many of 64;
// HalfFloats and HalfWords: half as many of 32. The ...In types are the same as they lie in memory: aligned to the
// element only (words to 2 bytes: they are pairs of 16-bit elements, too), aliasing anything.
#define SELENITE_SIMD_TYPES(count)                                                                 \
  inline constexpr int lanes = count;                                                              \
  typedef float Floats __attribute__((vector_size(4 * (count))));                                  \
  typedef std::int32_t Ints __attribute__((vector_size(4 * (count))));                             \
  typedef std::uint32_t Words __attribute__((vector_size(4 * (count))));                           \
  typedef std::uint16_t Halves __attribute__((vector_size(2 * (count))));                          \
  typedef std::uint8_t Bytes __attribute__((vector_size(count)));                                  \
  typedef std::uint64_t Longs __attribute__((vector_size(4 * (count))));                           \
  typedef double Doubles __attribute__((vector_size(4 * (count))));                                \
  typedef float HalfFloats __attribute__((vector_size(2 * (count))));                              \
  typedef std::uint32_t HalfWords __attribute__((vector_size(2 * (count))));                       \
  typedef float FloatsIn __attribute__((vector_size(4 * (count)), aligned(4), may_alias));         \
  typedef std::uint32_t WordsIn __attribute__((vector_size(4 * (count)), aligned(2), may_alias));  \
  typedef std::uint16_t HalvesIn __attribute__((vector_size(2 * (count)), aligned(2), may_alias)); \
  typedef std::uint8_t BytesIn __attribute__((vector_size(count), aligned(1), may_alias));         \
  typedef double DoublesIn __attribute__((vector_size(4 * (count)), aligned(8), may_alias));
