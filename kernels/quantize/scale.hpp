#pragma once
#include <cstdint>

// The one definition of a scale, for the host and for devices.
namespace selenite {

/// What the scales of an UpdateScales are made by.
struct ScaleRule {
  std::uint32_t largest = 0;  ///< bits of the format's largest number, an fp32
  std::uint32_t initial = 0;  ///< bits of the scale before there is a history
  std::int32_t margin = 0;
};

/// Bits of the scale for a largest magnitude, given by its bits as an fp32: 2^(floor(log2(largest / magnitude)) -
/// margin), bounded so that the inverse is a normal number, too.
constexpr std::uint32_t scale_bits(std::uint32_t magnitude, ScaleRule rule) {
  if (magnitude == 0) return rule.initial;
  bool const fits = (magnitude & 0x7fffffu) <= (rule.largest & 0x7fffffu);  // by the mantissas
  std::int32_t power = static_cast<std::int32_t>(rule.largest >> 23) - static_cast<std::int32_t>(magnitude >> 23) -
                       (fits ? 0 : 1) - rule.margin;
  power = power < -120 ? -120 : power > 120 ? 120 : power;
  return static_cast<std::uint32_t>(power + 127) << 23;
}
/// Bits of 1 / scale.
constexpr std::uint32_t inverse_bits(std::uint32_t scale) { return (254u << 23) - scale; }

}  // namespace selenite
