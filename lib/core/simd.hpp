#pragma once
#include <limits>
#include <type_traits>

#include "core/dtype.hpp"
#include "core/error.hpp"
// One of these three holds the primitives, by the processor that the file is built for.
#include "core/simd_avx2.hpp"
#include "core/simd_avx512.hpp"
#include "core/simd_generic.hpp"

namespace selenite::simd {
inline namespace SELENITE_SIMD {

/// How many lanes of a vector take part: all, or the first n of a row's rest.
struct Full {};
struct Part {
  std::int64_t n;
};

SELENITE_INLINE Floats broadcast(float v) { return Floats{} + v; }
SELENITE_INLINE Floats as_floats(Words w) { return (Floats)w; }
SELENITE_INLINE Words as_words(Floats v) { return (Words)v; }

SELENITE_INLINE Floats load(float const* p) { return *reinterpret_cast<FloatsIn const*>(p); }
SELENITE_INLINE Floats load(bf16 const* p) { return as_floats(widen(*reinterpret_cast<HalvesIn const*>(p)) << 16); }
SELENITE_INLINE Floats load(fp16 const* p) { return from_fp16(*reinterpret_cast<HalvesIn const*>(p)); }
SELENITE_INLINE Words load(std::uint32_t const* p) { return *reinterpret_cast<WordsIn const*>(p); }

/// bf16 bits, rounded to nearest even as bf16(float) does; a NaN becomes the NaN of all ones.
SELENITE_INLINE Halves to_bf16(Floats v) {
  Words const u = as_words(v), rounded = u + 0x7fffu + ((u >> 16) & 1u);
  return narrow((rounded | (Words)(v != v)) >> 16);
}
SELENITE_INLINE void store(float* p, Floats v) { *reinterpret_cast<FloatsIn*>(p) = v; }
SELENITE_INLINE void store(bf16* p, Floats v) { *reinterpret_cast<HalvesIn*>(p) = to_bf16(v); }
SELENITE_INLINE void store(fp16* p, Floats v) { *reinterpret_cast<HalvesIn*>(p) = to_fp16(v); }
SELENITE_INLINE void store(std::uint32_t* p, Words v) { *reinterpret_cast<WordsIn*>(p) = v; }

/// Past the caches, for outputs that nobody reads soon; `p` must be aligned to the vector (see streamable).
SELENITE_INLINE void stream(bf16* p, Floats v) { stream(reinterpret_cast<std::uint16_t*>(p), to_bf16(v)); }
SELENITE_INLINE void stream(fp16* p, Floats v) { stream(reinterpret_cast<std::uint16_t*>(p), to_fp16(v)); }
template <class T>
SELENITE_INLINE bool streamable(T const* p) {
  return reinterpret_cast<std::uintptr_t>(p) % (sizeof(T) * lanes) == 0;
}

template <class T>
SELENITE_INLINE auto load(T const* p, Full) {
  return load(p);
}
template <class T>
SELENITE_INLINE auto load(T const* p, Part part) {  // the lanes beyond are 0
  T buffer[lanes]{};
  for (std::int64_t i = 0; i < part.n; ++i) buffer[i] = p[i];
  return load(buffer);
}
template <class T, class Vector>
SELENITE_INLINE void store(T* p, Vector v, Full) {
  store(p, v);
}
template <class T, class Vector>
SELENITE_INLINE void store(T* p, Vector v, Part part) {
  T buffer[lanes];
  store(buffer, v);
  for (std::int64_t i = 0; i < part.n; ++i) p[i] = buffer[i];
}

/// v in the lanes that take part, `other` in the rest.
SELENITE_INLINE Floats keep(Floats v, float, Full) { return v; }
SELENITE_INLINE Floats keep(Floats v, float other, Part part) {
  for (int i = 0; i < lanes; ++i) v[i] = i < part.n ? v[i] : other;
  return v;
}

/// body(i, part) for the vectors of [0, count): all Full, the rest a Part. body must be a generic lambda.
template <class Body>
SELENITE_INLINE void for_lanes(std::int64_t count, Body body) {
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) body(i, Full{});
  if (i < count) body(i, Part{count - i});
}

/// The same four vectors at a time: body(i, part, k) with k = 0..3, a constant, to keep four running sums apart.
template <int k>
using Index = std::integral_constant<int, k>;
template <class Body>
SELENITE_INLINE void for_lanes4(std::int64_t count, Body body) {
  std::int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    body(i, Full{}, Index<0>{});
    body(i + lanes, Full{}, Index<1>{});
    body(i + 2 * lanes, Full{}, Index<2>{});
    body(i + 3 * lanes, Full{}, Index<3>{});
  }
  for (; i + lanes <= count; i += lanes) body(i, Full{}, Index<0>{});
  if (i < count) body(i, Part{count - i}, Index<1>{});
}

/// The sum and the maximum of the lanes, in a fixed order.
SELENITE_INLINE float sum(Floats v) {
  float buffer[lanes];
  store(buffer, v);
  for (int half = lanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) buffer[i] += buffer[i + half];
  return buffer[0];
}
SELENITE_INLINE float maximum(Floats v) {
  float buffer[lanes];
  store(buffer, v);
  for (int half = lanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) buffer[i] = buffer[i] > buffer[i + half] ? buffer[i] : buffer[i + half];
  return buffer[0];
}

/// The two halves of a vector in double.
struct DoublePair {
  Doubles low, high;
};
SELENITE_INLINE DoublePair to_doubles(Floats v) {
  typedef float Half __attribute__((vector_size(2 * lanes)));
  union {
    Floats whole;
    Half half[2];
  } u{v};
  return {__builtin_convertvector(u.half[0], Doubles), __builtin_convertvector(u.half[1], Doubles)};
}

}  // namespace SELENITE_SIMD

/// Calls f with a float, bf16 or fp16 by the dtype; throws Error for others (fp64 exists for reference kernels only).
template <class F>
decltype(auto) visit_float(DType type, F&& f) {
  if (type == DType::fp32) return f(float{});
  if (type == DType::bf16) return f(bf16{});
  if (type == DType::fp16) return f(fp16{});
  throw Error(
      concat("The CPU kernels do not compute in ", name(type), " (they have fp32, bf16 and fp16). Use one of these."));
}

}  // namespace selenite::simd
