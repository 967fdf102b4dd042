#include "io/finite.hpp"

namespace selenite {
namespace {

/// All bits of the exponent are set in what is not finite. Without a branch, so that it is done in vectors.
template <class Bits>
bool none_has(Bits exponent, std::byte const* values, std::int64_t count) {
  auto const* const bits = reinterpret_cast<Bits const*>(values);
  Bits found = 0;
  for (std::int64_t i = 0; i < count; ++i) found |= static_cast<Bits>((bits[i] & exponent) == exponent);
  return found == 0;
}

}  // namespace

bool all_finite(std::byte const* values, DType dtype, std::int64_t count) {
  switch (dtype) {
    case DType::fp64:
      return none_has<std::uint64_t>(0x7ff0000000000000, values, count);
    case DType::fp32:
      return none_has<std::uint32_t>(0x7f800000, values, count);
    case DType::bf16:
      return none_has<std::uint16_t>(0x7f80, values, count);
    case DType::fp16:
      return none_has<std::uint16_t>(0x7c00, values, count);
    default:
      return true;
  }
}

}  // namespace selenite
