#include "core/rng.hpp"

#include "core/normal.hpp"
#include "core/simd.hpp"

namespace selenite {
namespace {

using Doubles = simd::Doubles;
using Longs = simd::Longs;

/// The formulas of core/normal.hpp in vectors.
struct VectorMath {
  static SELENITE_INLINE Doubles fused(Doubles a, Doubles b, Doubles c) { return simd::fused(a, b, c); }
  static SELENITE_INLINE Doubles square_root(Doubles x) { return simd::square_root(x); }
  static SELENITE_INLINE Longs to_bits(Doubles x) { return (Longs)x; }
  static SELENITE_INLINE Doubles from_bits(Longs u) { return (Doubles)u; }
};
using normal::in_tail;
SELENITE_INLINE Doubles central(Doubles q) { return normal::central<VectorMath>(q); }
SELENITE_INLINE Doubles tail(Doubles u) { return normal::tail<VectorMath>(u); }

/// uniform() of as many words as a vector has doubles.
SELENITE_INLINE Doubles uniforms(std::uint32_t const* words) {
  typedef std::uint32_t WordsInMemory __attribute__((vector_size(2 * simd::lanes), aligned(4), may_alias));
  simd::HalfWords const w = *reinterpret_cast<WordsInMemory const*>(words);
  return (normal::to_double<VectorMath>(__builtin_convertvector(w, Longs)) + 0.5) * (1.0 / 4294967296.0);
}
SELENITE_INLINE void store_scaled(float* out, Doubles x, float scale) {
  typedef float FloatsInMemory __attribute__((vector_size(2 * simd::lanes), aligned(4), may_alias));
  *reinterpret_cast<FloatsInMemory*>(out) = __builtin_convertvector(x, simd::HalfFloats) * scale;
}

/// A block of words, whole vectors: the central formula for all, then the tails (15 %) gathered, computed and put in
/// place.
constexpr std::int64_t step = simd::lanes / 2, block = 512;
void fill_block(std::uint32_t const* words, float* out, std::int64_t count, float scale) {
  std::uint32_t tail_words[block + step];
  float tails[block + step];
  std::int32_t places[block + 1];
  for (std::int64_t i = 0; i < count; i += step) store_scaled(out + i, central(uniforms(words + i) - 0.5), scale);
  std::int64_t found = 0;
  for (std::int64_t i = 0; i < count; ++i) {  // without a branch: it would be mispredicted
    places[found] = static_cast<std::int32_t>(i), tail_words[found] = words[i];
    found += in_tail(words[i]);
  }
  for (std::int64_t i = 0; i < step; ++i) tail_words[found + i] = 0;
  for (std::int64_t i = 0; i < found; i += step) store_scaled(tails + i, tail(uniforms(tail_words + i)), scale);
  for (std::int64_t i = 0; i < found; ++i) out[places[i]] = tails[i];
}

}  // namespace

double normal_from_word(std::uint32_t word) { return normal::from_word<normal::ScalarMath>(word); }

void normals_from_words(std::uint32_t const* words, float* out, std::int64_t count, float scale) {
  std::int64_t const whole = count / step * step;
  for (std::int64_t i = 0; i < whole; i += block) fill_block(words + i, out + i, std::min(block, whole - i), scale);
  for (std::int64_t i = whole; i < count; ++i) out[i] = static_cast<float>(normal_from_word(words[i])) * scale;
}

}  // namespace selenite
