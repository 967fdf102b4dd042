#pragma once
// Tensor cores as nvcuda::wmma has them, for tiles of 16 x 16 x 16 with sums in fp32. A lane does an equal part of each
// product: half a row of sums, from a row of A and half of the columns of B that it keeps. All lanes of the warp must
// make each call; they do not wait there, so that what is written without a barrier is not seen.
#include <cstdint>
#include <limits>
#ifdef __F16C__
#include <immintrin.h>
#endif

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "tests/shim/block.hpp"
#include "tests/shim/memory.hpp"

namespace nvcuda::wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

namespace shim {

using selenite::shim::At;
constexpr int size = 16, part = 8;  // of a tile, and the columns of it that a lane has

inline int row() { return selenite::shim::lane() / 2; }
inline int first_column() { return selenite::shim::lane() % 2 * part; }

inline float widen(float x) { return x; }
inline float widen(__nv_bfloat16 x) { return static_cast<float>(x.value); }
#ifdef __F16C__
inline float widen(__half x) { return _cvtsh_ss(x.value.bits); }
#else
inline float widen(__half x) { return __half2float(x); }
#endif

/// The contract of every access: all lanes, 32-byte aligned, rows a multiple of 16 bytes apart, inside of the shared
/// memory if it begins there.
template <class T>
void begin_access(T const* p, unsigned ld, At at) {
  selenite::shim::warp_call(at);
  if (reinterpret_cast<std::uintptr_t>(p) % 32 != 0) selenite::shim::misaligned(p, 32);
  if (ld * sizeof(T) % 16 != 0) selenite::shim::misaligned(p + ld, 16);
  auto const offset = reinterpret_cast<std::byte const*>(p) - selenite::shim::dynamic_shared_bytes();
  auto const bytes = static_cast<std::int64_t>(selenite::shim::dynamic_shared_size());
  auto const end = offset + static_cast<std::int64_t>(((size - 1) * ld + size) * sizeof(T));
  if (offset >= 0 && offset < bytes && end > bytes) selenite::shim::out_of_bounds(end, bytes);
}

/// Not a number until something is loaded.
template <int rows, int columns>
struct Part {
  float at[rows][columns];
  Part() {
    for (auto& r : at)
      for (float& x : r) x = std::numeric_limits<float>::quiet_NaN();
  }
};

}  // namespace shim

template <class Use, int m, int n, int k, class T, class Layout = void>
struct fragment;
template <class T, class Layout>
struct fragment<matrix_a, 16, 16, 16, T, Layout> : shim::Part<1, shim::size> {};
template <class T, class Layout>
struct fragment<matrix_b, 16, 16, 16, T, Layout> : shim::Part<shim::size, shim::part> {};
template <>
struct fragment<accumulator, 16, 16, 16, float, void> : shim::Part<1, shim::part> {};

using Accumulator = fragment<accumulator, 16, 16, 16, float, void>;

inline void fill_fragment(Accumulator& f, float value, shim::At at = shim::At::current()) {
  selenite::shim::warp_call(at);
  for (float& x : f.at[0]) x = value;
}

template <class T, class Layout>
void load_matrix_sync(fragment<matrix_a, 16, 16, 16, T, Layout>& f, T const* p, unsigned ld,
                      shim::At at = shim::At::current()) {
  constexpr bool by_rows = std::is_same_v<Layout, row_major>;
  shim::begin_access(p, ld, at);
  T const* const from = p + static_cast<unsigned>(shim::row()) * (by_rows ? ld : 1);
  for (unsigned i = 0; i < shim::size; ++i) f.at[0][i] = shim::widen(from[i * (by_rows ? 1 : ld)]);
}
template <class T, class Layout>
void load_matrix_sync(fragment<matrix_b, 16, 16, 16, T, Layout>& f, T const* p, unsigned ld,
                      shim::At at = shim::At::current()) {
  constexpr bool by_rows = std::is_same_v<Layout, row_major>;
  shim::begin_access(p, ld, at);
  T const* const from = p + static_cast<unsigned>(shim::first_column()) * (by_rows ? 1 : ld);
  for (unsigned i = 0; i < shim::size; ++i)
    for (unsigned j = 0; j < shim::part; ++j) f.at[i][j] = shim::widen(from[by_rows ? i * ld + j : j * ld + i]);
}
inline void load_matrix_sync(Accumulator& f, float const* p, unsigned ld, layout_t layout,
                             shim::At at = shim::At::current()) {
  shim::begin_access(p, ld, at);
  auto const r = static_cast<unsigned>(shim::row()), c = static_cast<unsigned>(shim::first_column());
  for (unsigned j = 0; j < shim::part; ++j) f.at[0][j] = p[layout == mem_row_major ? r * ld + c + j : (c + j) * ld + r];
}
inline void store_matrix_sync(float* p, Accumulator const& f, unsigned ld, layout_t layout,
                              shim::At at = shim::At::current()) {
  shim::begin_access(p, ld, at);
  auto const r = static_cast<unsigned>(shim::row()), c = static_cast<unsigned>(shim::first_column());
  for (unsigned j = 0; j < shim::part; ++j) p[layout == mem_row_major ? r * ld + c + j : (c + j) * ld + r] = f.at[0][j];
}

template <class T, class LayoutA, class LayoutB>
void mma_sync(Accumulator& d, fragment<matrix_a, 16, 16, 16, T, LayoutA> const& a,
              fragment<matrix_b, 16, 16, 16, T, LayoutB> const& b, Accumulator const& c,
              shim::At at = shim::At::current()) {
  selenite::shim::warp_call(at);
  float sums[shim::part];
  for (int j = 0; j < shim::part; ++j) sums[j] = c.at[0][j];
  for (int i = 0; i < shim::size; ++i)
    for (int j = 0; j < shim::part; ++j) sums[j] += a.at[0][i] * b.at[i][j];
  for (int j = 0; j < shim::part; ++j) d.at[0][j] = sums[j];
}

}  // namespace nvcuda::wmma
