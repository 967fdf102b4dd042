#include "core/dtype.hpp"

#include <array>
#include <utility>

#include "core/error.hpp"

namespace selenite {
namespace {
constexpr std::array<std::pair<DType, std::string_view>, 10> names{{{DType::fp64, "fp64"},
                                                                    {DType::fp32, "fp32"},
                                                                    {DType::bf16, "bf16"},
                                                                    {DType::fp16, "fp16"},
                                                                    {DType::e4m3, "e4m3"},
                                                                    {DType::e5m2, "e5m2"},
                                                                    {DType::int64, "int64"},
                                                                    {DType::int32, "int32"},
                                                                    {DType::uint16, "uint16"},
                                                                    {DType::uint8, "uint8"}}};
}

std::string_view name(DType type) {
  for (auto const& [t, text] : names)
    if (t == type) return text;
  return "?";
}

DType parse_dtype(std::string_view text) {
  for (auto const& [t, known] : names)
    if (known == text) return t;
  throw Error(concat("There is no dtype \"", text,
                     "\". Use fp64, fp32, bf16, fp16, e4m3, e5m2, int64, int32, uint16 or uint8."));
}

fp16::fp16(float value) {
  auto const u = std::bit_cast<std::uint32_t>(value);
  std::uint32_t const sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) {
    bits = static_cast<std::uint16_t>(sign | 0x7e00u);
    return;
  }  // NaN
  if (magnitude >= 0x477ff000u) {
    bits = static_cast<std::uint16_t>(sign | 0x7c00u);
    return;
  }                               // overflow: infinity
  if (magnitude < 0x38800000u) {  // subnormal: scale by 2^24, round to even
    float const scaled = std::bit_cast<float>(magnitude) * 16777216.0f;
    auto integer = static_cast<std::uint32_t>(scaled);
    float const rest = scaled - static_cast<float>(integer);
    if (rest > 0.5f || (rest == 0.5f && (integer & 1u))) ++integer;
    bits = static_cast<std::uint16_t>(sign | integer);
    return;
  }
  std::uint32_t const rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  bits = static_cast<std::uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

fp16::operator float() const {
  std::uint32_t const sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1fu, mantissa = bits & 0x3ffu;
  if (exponent == 0x1fu) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    float const value = static_cast<float>(mantissa) * (1.0f / 16777216.0f);
    return sign ? -value : value;
  }
  return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

}  // namespace selenite
