#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/element.cuh"
#include "kernels/cuda/checked.cuh"

namespace selenite {

/// As many elements as fill 16 bytes.
template <class T>
constexpr int full_width = 16 / static_cast<int>(sizeof(T));

/// `width` consecutive elements, in registers.
template <class T, int width>
struct Pack {
  T at[width];
};
template <int width>
using FloatPack = Pack<float, width>;

/// The largest type that one access of `bytes` bytes may have: at most 16.
template <int bytes>
using AccessUnit = std::conditional_t<
    bytes % 16 == 0, uint4,
    std::conditional_t<bytes % 8 == 0, uint2,
                       std::conditional_t<bytes % 4 == 0, std::uint32_t,
                                          std::conditional_t<bytes % 2 == 0, std::uint16_t, std::uint8_t>>>>;

/// The same as it lies in memory, in whole registers: what is loaded early and used later. The compiler takes a Pack of
/// 16-bit elements that a branch or a loop carries apart, into one register an element, and so waits for it at once.
template <class T, int width>
struct RawPack {
  using Unit = AccessUnit<width* static_cast<int>(sizeof(T))>;
  static constexpr int units = width * sizeof(T) / sizeof(Unit);
  Unit raw[units];
};

/// Elements [p, p + width) by accesses of up to 16 bytes; p is aligned to them.
template <int width, class T>
__device__ RawPack<std::remove_const_t<T>, width> load_raw(T* p) {
  using Raw = RawPack<std::remove_const_t<T>, width>;
  using Unit = typename Raw::Unit;
  expect_aligned<Unit>(p);
  Raw pack;
#pragma unroll
  for (int i = 0; i < Raw::units; ++i) pack.raw[i] = reinterpret_cast<Unit const*>(p)[i];
  return pack;
}
template <class T, int width>
__device__ Pack<T, width> elements_of(RawPack<T, width> const& raw) {
  Pack<T, width> pack;
  std::memcpy(&pack, raw.raw, sizeof pack);
  return pack;
}
template <int width, class T>
__device__ Pack<std::remove_const_t<T>, width> load_pack(T* p) {
  return elements_of(load_raw<width>(p));
}
template <int width, class T>
__device__ void store_pack(T* p, Pack<T, width> const& pack) {
  using Unit = AccessUnit<width* static_cast<int>(sizeof(T))>;
  constexpr int units = width * sizeof(T) / sizeof(Unit);
  expect_aligned<Unit>(p);
  Unit raw[units];
  std::memcpy(raw, &pack, sizeof pack);
#pragma unroll
  for (int i = 0; i < units; ++i) reinterpret_cast<Unit*>(p)[i] = raw[i];
}

template <class T, int width>
__device__ FloatPack<width> widen(Pack<T, width> const& x) {
  FloatPack<width> y;
#pragma unroll
  for (int i = 0; i < width; ++i) y.at[i] = to_float(x.at[i]);
  return y;
}
template <class T, int width>
__device__ FloatPack<width> widen(RawPack<T, width> const& raw) {
  if constexpr (std::is_same_v<T, bf16> && width % 2 == 0) {  // one instruction an element
    std::uint32_t words[width / 2];
    std::memcpy(words, raw.raw, sizeof words);
    FloatPack<width> y;
#pragma unroll
    for (int i = 0; i < width; ++i)
      y.at[i] = __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
    return y;
  } else {
    return widen(elements_of(raw));
  }
}
/// The same as fp32.
template <int width, class T>
__device__ FloatPack<width> load_floats(T* p) {
  return widen(load_raw<width>(p));
}
/// Rounded to T.
template <int width, class T>
__device__ void store_floats(T* p, FloatPack<width> const& x) {
  Pack<T, width> y;
#pragma unroll
  for (int i = 0; i < width; ++i) y.at[i] = from_float<T>(x.at[i]);
  store_pack<width>(p, y);
}

}  // namespace selenite
