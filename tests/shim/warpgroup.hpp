#pragma once
#include <cstdint>

#include "core/dtype.hpp"
#include "tests/shim/block.hpp"

/// The host's versions of what kernels/cuda/warpgroup.cuh declares: shared memory is read through the descriptors, and
/// registers are divided among lanes, as the PTX ISA has them. Sums are NaN until they are waited for. Found are
/// products that were not begun, operands by copies that were not shown to products, copies over what a product still
/// reads, registers of a product that are written while it is under way, and warps that do not do what the others of
/// their group do; not found are other writes to shared memory.
namespace selenite {

struct MatrixDescriptor;
enum class RightOperand;

namespace shim {

/// Address in the block's shared memory, which begins at no multiple of more than 128 bytes.
std::uint32_t shared_address(void const* p);
void show_to_products();
void begin_products(At at);
void end_products(At at);
void wait_for_products(int batches, At at);
/// Throws Error where a thread of the block, which has ended, has not waited.
void expect_no_products();
void forget_products();
/// A copy to shared memory has arrived.
void copy_arrived(int thread);
/// Throws Error where a product that nobody has waited for reads these bytes.
void expect_unread(void const* to, std::size_t bytes);

/// A product's left operand: four registers, or a descriptor.
struct LeftOperand {
  std::uint64_t words[2];
  bool in_memory;
  std::uint32_t const* registers = nullptr;
};
void start_product(float (*sums)[4], int tiles, LeftOperand const& a, std::uint64_t b, bool b_transposed,
                   float (*value)(std::uint16_t), bool adds, At at);

template <class T>
float value_of(std::uint16_t bits) {
  return static_cast<float>(std::bit_cast<T>(bits));
}

}  // namespace shim

using shim::shared_address;
using shim::show_to_products;
inline void begin_products(shim::At at = shim::At::current()) { shim::begin_products(at); }
inline void end_products(shim::At at = shim::At::current()) { shim::end_products(at); }
template <int batches>
void wait_for_products(shim::At at = shim::At::current()) {
  shim::wait_for_products(batches, at);
}
template <int tiles>
void hold_sums(float (&)[tiles][4]) {}
template <int words>
void hold_operand(std::uint32_t (&)[words]) {}
inline bool any_of_warpgroup(int, bool so, shim::At at = shim::At::current()) { return shim::group_or(so, at) != 0; }

template <class T, RightOperand order, int tiles, class Descriptor>
void start_product(float (&sums)[tiles][4], std::uint32_t const (&a)[4], Descriptor b, bool adds,
                   shim::At at = shim::At::current()) {
  auto const two = [](std::uint32_t low, std::uint32_t high) { return low | static_cast<std::uint64_t>(high) << 32; };
  shim::start_product(sums, tiles, {{two(a[0], a[1]), two(a[2], a[3])}, false, a}, b.bits(),
                      static_cast<int>(order) == 0, shim::value_of<T>, adds, at);
}
template <class T, int tiles, class Descriptor>
void start_product(float (&sums)[tiles][4], Descriptor a, Descriptor b, bool adds, shim::At at = shim::At::current()) {
  shim::start_product(sums, tiles, {{a.bits(), 0}, true}, b.bits(), true, shim::value_of<T>, adds, at);
}

}  // namespace selenite
