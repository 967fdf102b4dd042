#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <string_view>

namespace selenite {

/// Element types. Integers carry tokens and indices; fp64 exists for the reference kernels; e4m3 and e5m2 are operands
/// of matrix products.
enum class DType : std::uint8_t { fp64, fp32, bf16, fp16, e4m3, e5m2, int64, int32, uint16, uint8 };

constexpr std::int64_t size_of(DType type) {
  switch (type) {
    case DType::fp64:
    case DType::int64:
      return 8;
    case DType::fp32:
    case DType::int32:
      return 4;
    case DType::bf16:
    case DType::fp16:
    case DType::uint16:
      return 2;
    case DType::uint8:
    case DType::e4m3:
    case DType::e5m2:
      return 1;
  }
  return 0;
}
std::string_view name(DType type);
/// Throws Error naming the known types if `text` is none of them.
DType parse_dtype(std::string_view text);

/// bfloat16: the upper half of an fp32. Conversion rounds to nearest even and keeps NaN a NaN.
struct bf16 {
  std::uint16_t bits = 0;
  bf16() = default;
  constexpr explicit bf16(float value) {
    auto u = std::bit_cast<std::uint32_t>(value);
    bits = (u & 0x7fffffffu) > 0x7f800000u ? static_cast<std::uint16_t>((u >> 16) | 0x40u)
                                           : static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
  }
  constexpr explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

/// IEEE binary16 in software; round to nearest even.
struct fp16 {
  std::uint16_t bits = 0;
  fp16() = default;
  explicit fp16(float value);
  explicit operator float() const;
};

/// The 8-bit floats of "FP8 Formats for Deep Learning" (Micikevicius et al. 2022): sign, exponent, mantissa. e4m3 has
/// no infinity, and one NaN a sign; e5m2 is the upper half of an fp16. Conversion rounds to nearest even and saturates:
/// what is larger than `largest`, infinity too, becomes it; NaN becomes the positive one of all ones.
template <int exponent_bits>
struct fp8 {
  static constexpr int mantissa_bits = 7 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  static constexpr int shift = 23 - mantissa_bits;             ///< between its mantissa's place and an fp32's
  static constexpr std::uint32_t rebias = (127 - bias) << 23;  ///< between the exponents of the two, in place
  static constexpr float largest = exponent_bits == 4 ? 448.0f : 57344.0f;
  /// The spacing of the subnormal numbers, and the smallest number above them.
  static constexpr float smallest = 1.0f / (1 << (bias - 1 + mantissa_bits)), normal = 1.0f / (1 << (bias - 1));
  static constexpr float rounder = smallest * 8388608.0f;  ///< the sum with it is a multiple of `smallest`
  static constexpr std::uint8_t nan = 0x7f;

  std::uint8_t bits = 0;
  fp8() = default;
  constexpr explicit fp8(float value) {
    auto const u = std::bit_cast<std::uint32_t>(value);
    bits = static_cast<std::uint8_t>(value != value ? nan : (u >> 24 & 0x80u) | code(u & 0x7fffffffu));
  }
  constexpr explicit operator float() const {
    std::uint32_t const magnitude = bits & 0x7fu, sign = static_cast<std::uint32_t>(bits & 0x80u) << 24;
    if (magnitude > code(std::bit_cast<std::uint32_t>(largest))) {
      bool const infinite = exponent_bits == 5 && magnitude == 0x7cu;
      return std::bit_cast<float>(sign | (infinite ? 0x7f800000u : 0x7fc00000u));
    }
    if (magnitude < 1u << mantissa_bits) {  // zero and subnormal
      float const value = static_cast<float>(magnitude) * smallest;
      return sign ? -value : value;
    }
    return std::bit_cast<float>(sign | ((magnitude << shift) + rebias));
  }

 private:
  static constexpr std::uint32_t code(std::uint32_t magnitude) {
    float const value = std::min(std::bit_cast<float>(magnitude), largest);
    auto const u = std::bit_cast<std::uint32_t>(value);
    if (value < normal) return std::bit_cast<std::uint32_t>(value + rounder) - std::bit_cast<std::uint32_t>(rounder);
    return (u + ((1u << (shift - 1)) - 1) + (u >> shift & 1u) - rebias) >> shift;
  }
};
using e4m3 = fp8<4>;
using e5m2 = fp8<5>;

template <class T>
struct dtype_of;
template <>
struct dtype_of<double> {
  static constexpr DType value = DType::fp64;
};
template <>
struct dtype_of<float> {
  static constexpr DType value = DType::fp32;
};
template <>
struct dtype_of<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct dtype_of<fp16> {
  static constexpr DType value = DType::fp16;
};
template <>
struct dtype_of<e4m3> {
  static constexpr DType value = DType::e4m3;
};
template <>
struct dtype_of<e5m2> {
  static constexpr DType value = DType::e5m2;
};
template <>
struct dtype_of<std::int64_t> {
  static constexpr DType value = DType::int64;
};
template <>
struct dtype_of<std::int32_t> {
  static constexpr DType value = DType::int32;
};
template <>
struct dtype_of<std::uint16_t> {
  static constexpr DType value = DType::uint16;
};
template <>
struct dtype_of<std::uint8_t> {
  static constexpr DType value = DType::uint8;
};

}  // namespace selenite
