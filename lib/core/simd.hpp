#pragma once
#include <limits>
#include <type_traits>
#include <utility>

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
/// By way of fp16: e5m2 is its upper half, and e4m3 in its place is 2^-8 of the value, NaN excepted.
SELENITE_INLINE Floats load(e5m2 const* p) {
  return from_fp16(__builtin_convertvector(*reinterpret_cast<BytesIn const*>(p), Halves) << 8);
}
SELENITE_INLINE Floats load(e4m3 const* p) {
  Halves const code = __builtin_convertvector(*reinterpret_cast<BytesIn const*>(p), Halves);
  Floats const v = from_fp16((code & 0x80) << 8 | (code & 0x7f) << 7) * 256.0f;
  return as_floats(as_words(v) | (Words)(v == 480.0f || v == -480.0f));
}

/// One of two vectors that hold 2 * lanes elements between them, in an order that is cheap to load: for bf16 the even
/// elements (each is the lower half of a word) and the odd ones, else the first half and the second.
struct First {};
struct Second {};
SELENITE_INLINE Floats load(bf16 const* p, First) { return as_floats(*reinterpret_cast<WordsIn const*>(p) << 16); }
SELENITE_INLINE Floats load(bf16 const* p, Second) {
  return as_floats(*reinterpret_cast<WordsIn const*>(p) & 0xffff0000u);
}
template <class T>
SELENITE_INLINE Floats load(T const* p, First) {
  return load(p);
}
template <class T>
SELENITE_INLINE Floats load(T const* p, Second) {
  return load(p + lanes);
}

/// bf16 bits in the upper halves, rounded to nearest even as bf16(float) does; a NaN becomes the NaN of all ones.
SELENITE_INLINE Words round_to_bf16(Floats v) {
  Words const u = as_words(v), rounded = u + 0x7fffu + ((u >> 16) & 1u);
  return rounded | (Words)(v != v);
}
SELENITE_INLINE Halves to_bf16(Floats v) { return narrow(round_to_bf16(v) >> 16); }
SELENITE_INLINE void store(float* p, Floats v) { *reinterpret_cast<FloatsIn*>(p) = v; }
SELENITE_INLINE void store(bf16* p, Floats v) { *reinterpret_cast<HalvesIn*>(p) = to_bf16(v); }
SELENITE_INLINE void store(fp16* p, Floats v) { *reinterpret_cast<HalvesIn*>(p) = to_fp16(v); }
SELENITE_INLINE void store(std::uint32_t* p, Words v) { *reinterpret_cast<WordsIn*>(p) = v; }
/// Rounded and saturated as T(float) does.
template <class T>
SELENITE_INLINE Bytes to_fp8(Floats v) {
  Floats const magnitude = as_floats(as_words(v) & 0x7fffffffu), bound = broadcast(T::largest),
               bounded = magnitude > bound ? bound : magnitude;
  Words const u = as_words(bounded), small = as_words(bounded + T::rounder) - as_words(broadcast(T::rounder)),
              large = (u + ((1u << (T::shift - 1)) - 1) + ((u >> T::shift) & 1u) - T::rebias) >> T::shift;
  Words const is_small = (Words)(bounded < T::normal), is_nan = (Words)(v != v),
              code = (is_small & small) | (~is_small & large) | ((as_words(v) >> 24) & 0x80u);
  return __builtin_convertvector((is_nan & T::nan) | (~is_nan & code), Bytes);
}
template <int exponent_bits>
SELENITE_INLINE void store(fp8<exponent_bits>* p, Floats v) {
  *reinterpret_cast<BytesIn*>(p) = to_fp8<fp8<exponent_bits>>(v);
}

/// What load(p, First) and load(p, Second) would give back.
template <class T>
SELENITE_INLINE void store(T* p, Floats first, Floats second) {
  store(p, first), store(p + lanes, second);
}
SELENITE_INLINE void store(bf16* p, Floats first, Floats second) {
  *reinterpret_cast<WordsIn*>(p) = (round_to_bf16(first) >> 16) | (round_to_bf16(second) & 0xffff0000u);
}

/// The same past the caches, for outputs larger than they are: the line is not read before it is written. `p` must be
/// aligned to the vector, and stream_fence() must follow the last.
SELENITE_INLINE void stream(float* p, Floats first, Floats second) { stream(p, first), stream(p + lanes, second); }
SELENITE_INLINE void stream(fp16* p, Floats first, Floats second) {
  stream(reinterpret_cast<std::uint16_t*>(p), to_fp16(first));
  stream(reinterpret_cast<std::uint16_t*>(p + lanes), to_fp16(second));
}
SELENITE_INLINE void stream(bf16* p, Floats first, Floats second) {
  stream(reinterpret_cast<float*>(p), as_floats((round_to_bf16(first) >> 16) | (round_to_bf16(second) & 0xffff0000u)));
}
/// Whether a row at p of an output of so many bytes should be written that way: what is larger than a core's share of
/// the caches is not there any more when it is read.
SELENITE_INLINE bool streamable(void const* p, std::int64_t bytes) {
  return bytes >= 8 << 20 && reinterpret_cast<std::uintptr_t>(p) % (4 * lanes) == 0;
}

/// Asks for the lines of the 2 * lanes elements at p, which may lie outside of memory.
template <class T>
SELENITE_INLINE void prefetch(T const* p) {
  for (std::size_t line = 0; line < 2 * lanes * sizeof(T); line += 64)
    __builtin_prefetch(reinterpret_cast<char const*>(p) + line);
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
template <class All>
SELENITE_INLINE Floats keep(Floats v, float, All) {
  return v;
}
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

/// for_lanes4 in an order that is cheap to load, for sums and maxima: part is First, Second, Full or a Part.
template <class Body>
SELENITE_INLINE void for_any_order4(std::int64_t count, Body body) {
  std::int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    body(i, First{}, Index<0>{});
    body(i, Second{}, Index<1>{});
    body(i + 2 * lanes, First{}, Index<2>{});
    body(i + 2 * lanes, Second{}, Index<3>{});
  }
  for (; i + lanes <= count; i += lanes) body(i, Full{}, Index<0>{});
  if (i < count) body(i, Part{count - i}, Index<1>{});
}

/// y[i] = body(i, part) for i of [0, count), in the same order; `streamed`: past the caches.
template <bool streamed, class T, class Body>
SELENITE_INLINE void transform(T* y, std::int64_t count, Body body) {
  std::int64_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    if constexpr (streamed)
      stream(y + i, body(i, First{}), body(i, Second{}));
    else
      store(y + i, body(i, First{}), body(i, Second{}));
  }
  for (; i + lanes <= count; i += lanes) store(y + i, body(i, Full{}), Full{});
  if (i < count) store(y + i, body(i, Part{count - i}), Part{count - i});
}

/// Lanes i and i ^ distance change places.
template <int distance, int... i>
SELENITE_INLINE Floats exchange(Floats v, std::integer_sequence<int, i...>) {
  return __builtin_shuffle(v, Ints{(i ^ distance)...});
}
template <int distance>
SELENITE_INLINE Floats exchange(Floats v) {
  return exchange<distance>(v, std::make_integer_sequence<int, lanes>{});
}
/// The sum and the maximum of the lanes, in a fixed order: by halves.
template <int half = lanes / 2>
SELENITE_INLINE float sum(Floats v) {
  if constexpr (half == 0)
    return v[0];
  else
    return sum<half / 2>(v + exchange<half>(v));
}
template <int half = lanes / 2>
SELENITE_INLINE float maximum(Floats v) {
  if constexpr (half == 0)
    return v[0];
  else
    return maximum<half / 2>(maximum(v, exchange<half>(v)));
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
