#pragma once
#include <bit>
#include <cstdint>
#include <cstring>

#include "core/dtype.hpp"
#include "tests/shim/block.hpp"
#include "tests/shim/memory.hpp"

/// The host's versions of what kernels/cuda/tensor_core.cuh declares, register by register as the PTX ISA has them
/// ("Matrix fragments for mma.m16n8k16", "ldmatrix"): which lane holds what is tested, too.
/// Lanes wait for each other there, as they need not on a device: a __syncwarp() that is missing before is not found.
namespace selenite {
namespace shim {

inline std::uint16_t element(void const* row, int i) {
  std::uint16_t bits;
  std::memcpy(&bits, static_cast<std::byte const*>(row) + i * 2, sizeof bits);
  return bits;
}
inline std::uint32_t pair(std::uint32_t first, std::uint32_t second) { return first | second << 16; }

/// The row that `lane` named.
inline void const* row_of(SharedOperands const& given, int lane) {
  return reinterpret_cast<void const*>(static_cast<std::uintptr_t>(given.of[lane].words[0]));
}
/// Names a row of eight elements in shared memory, at a multiple of 16 bytes.
inline SharedOperands const& share_row(void const* row, At at) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0) misaligned(row, 16);
  expect_shared(row, 16);
  return share_operands({{reinterpret_cast<std::uintptr_t>(row)}}, at);
}

/// a b of what the lanes hold: registers 0 to 3 are of a, 4 and 5 of b, a pair of elements each.
template <class T>
void multiply(SharedOperands& given) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    int const g = lane / 4, c = lane % 4 * 2;
    for (int i = 0; i < 12; ++i) {
      auto const pair = static_cast<std::uint32_t>(given.of[lane].words[i / 4] >> (32 * (i / 2 % 2)));
      float const x = static_cast<float>(std::bit_cast<T>(static_cast<std::uint16_t>(pair >> (16 * (i % 2)))));
      int const number = i / 2;
      if (number < 4)
        a[number % 2 * 8 + g][number / 2 * 8 + c + i % 2] = x;
      else
        b[(number - 4) * 8 + c + i % 2][g] = x;
    }
  }
  std::memset(given.result, 0, sizeof given.result);
  for (int r = 0; r < 16; ++r)
    for (int k = 0; k < 16; ++k)
      for (int n = 0; n < 8; ++n) given.result[r][n] += a[r][k] * b[k][n];
  given.has_result = true;
}

}  // namespace shim

inline void load_matrices(std::uint32_t (&to)[4], void const* row, shim::At at = shim::At::current()) {
  shim::SharedOperands const& given = shim::share_row(row, at);
  int const lane = shim::lane(), first = lane % 4 * 2;
  for (int m = 0; m < 4; ++m) {
    void const* const from = shim::row_of(given, m * 8 + lane / 4);
    to[m] = shim::pair(shim::element(from, first), shim::element(from, first + 1));
  }
}
inline void load_matrices_transposed(std::uint32_t (&to)[4], void const* row, shim::At at = shim::At::current()) {
  shim::SharedOperands const& given = shim::share_row(row, at);
  int const lane = shim::lane(), first = lane % 4 * 2;
  for (int m = 0; m < 4; ++m)
    to[m] = shim::pair(shim::element(shim::row_of(given, m * 8 + first), lane / 4),
                       shim::element(shim::row_of(given, m * 8 + first + 1), lane / 4));
}

template <class T>
void multiply_add(float (&sums)[4], std::uint32_t const (&a)[4], std::uint32_t b0, std::uint32_t b1,
                  shim::At at = shim::At::current()) {
  auto const two = [](std::uint32_t low, std::uint32_t high) { return low | static_cast<std::uint64_t>(high) << 32; };
  shim::SharedOperands& given = shim::share_operands({{two(a[0], a[1]), two(a[2], a[3]), two(b0, b1)}}, at);
  if (!given.has_result) shim::multiply<T>(given);
  int const g = shim::lane() / 4, c = shim::lane() % 4 * 2;
  for (int i = 0; i < 4; ++i) sums[i] += given.result[g + i / 2 * 8][c + i % 2];
}

}  // namespace selenite
