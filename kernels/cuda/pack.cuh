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

/// Elements [p, p + width) by accesses of up to 16 bytes; p is aligned to them.
template <int width, class T>
__device__ Pack<std::remove_const_t<T>, width> load_pack(T* p) {
  using Unit = AccessUnit<width* static_cast<int>(sizeof(T))>;
  constexpr int units = width * sizeof(T) / sizeof(Unit);
  expect_aligned<Unit>(p);
  Unit raw[units];
#pragma unroll
  for (int i = 0; i < units; ++i) raw[i] = reinterpret_cast<Unit const*>(p)[i];
  Pack<std::remove_const_t<T>, width> pack;
  std::memcpy(&pack, raw, sizeof pack);
  return pack;
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
/// The same as fp32.
template <int width, class T>
__device__ FloatPack<width> load_floats(T* p) {
  return widen(load_pack<width>(p));
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
