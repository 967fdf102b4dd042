#include <cstring>

#include "core/cpu.hpp"
#include "core/element.hpp"
#include "core/pieces.hpp"
#include "core/simd_philox.hpp"
#include "kernels/cast/cast.hpp"

namespace selenite {
namespace {

using namespace simd;

template <class From, class To>
void convert(From const* x, To* y, std::int64_t n) {
  for_lanes(n, [&](auto i, auto part) SELENITE_LAMBDA { simd::store(y + i, simd::load(x + i, part), part); });
}
// fp64 passes through fp32: a checkpoint's doubles become weights once, which is no hot path.
template <class To>
void convert(double const* x, To* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = To(static_cast<float>(x[i]));
}
template <class From>
void convert(From const* x, double* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(x[i]);
}
void convert(double const* x, double* y, std::int64_t n) { std::memcpy(y, x, static_cast<std::size_t>(n) * sizeof *x); }

/// visit_float with fp64 too.
template <class F>
void visit_any_float(DType type, F&& f) {
  type == DType::fp64 ? f(double{}) : visit_float(type, f);
}

void copy(Tensor const& x, Tensor const& y) {
  std::int64_t const size = size_of(x.dtype());
  for_row_pieces(
      x.rows(), x.cols(), x.contiguous() && y.contiguous(), [&](std::int64_t r, std::int64_t first, std::int64_t last) {
        std::memcpy(y.raw() + (r * y.row_stride() + first) * size, x.raw() + (r * x.row_stride() + first) * size,
                    static_cast<std::size_t>((last - first) * size));
      });
}

template <class Bits>
void fill(Tensor const& x, std::byte const* element) {
  Bits bits;
  std::memcpy(&bits, element, sizeof bits);
  for_row_pieces(x.rows(), x.cols(), x.contiguous(), [&](std::int64_t r, std::int64_t first, std::int64_t last) {
    Bits* const p = reinterpret_cast<Bits*>(x.raw()) + r * x.row_stride();
    std::fill(p + first, p + last, bits);
  });
}

/// Normals for logical elements [element, element + count), count <= chunk.
constexpr std::int64_t chunk = 1024;
void draw(InitNormal const& op, std::uint64_t element, std::int64_t count, float* normals) {
  std::uint32_t words[chunk + 4 + philox_slack];
  std::uint64_t const quad = element / 4, skip = element % 4, key = init_key(op.seed);
  std::int64_t const wanted = static_cast<std::int64_t>(skip) + count;
  Longs const hash_low = Longs{} + (op.name_hash & 0xffffffffu), hash_high = Longs{} + (op.name_hash >> 32);
  for (std::int64_t i = 0; i < wanted; i += 2 * lanes) {
    Longs const quads = count_up() + (quad + static_cast<std::uint64_t>(i / 4));
    PhiloxWords const w = simd::philox(quads, quads >> 32, hash_low, hash_high, key);
    simd::store(words + i, w.first);
    simd::store(words + i + lanes, w.second);
  }
  normals_from_words(words + skip, normals, count, static_cast<float>(op.std));
}

}  // namespace

void launch(Cpu&, Cast const& op) {
  EXPECTS(op.x.count() == op.y.count() && op.x.cols() == op.y.cols());
  if (op.x.dtype() == op.y.dtype()) return copy(op.x, op.y);
  visit_any_float(op.x.dtype(), [&]<class From>(From) {
    visit_any_float(op.y.dtype(), [&]<class To>(To) {
      for_row_pieces(op.x.rows(), op.x.cols(), op.x.contiguous() && op.y.contiguous(),
                     [&](std::int64_t r, std::int64_t first, std::int64_t last) {
                       convert(row<From>(op.x, r) + first, row<To>(op.y, r) + first, last - first);
                     });
    });
  });
}

void launch(Cpu&, Fill const& op) {
  std::byte element[8];
  store(Tensor(element, op.x.dtype(), {1}), 0, op.value);
  switch (size_of(op.x.dtype())) {
    case 8:
      return fill<std::uint64_t>(op.x, element);
    case 4:
      return fill<std::uint32_t>(op.x, element);
    case 2:
      return fill<std::uint16_t>(op.x, element);
    default:
      return fill<std::uint8_t>(op.x, element);
  }
}

void launch(Cpu&, InitNormal const& op) {
  bool const flat = op.x.contiguous() && op.x.cols() == op.logical_cols;
  visit_float(op.x.dtype(), [&]<class T>(T) {
    for_row_pieces(op.x.rows(), op.x.cols(), flat, [&](std::int64_t r, std::int64_t first, std::int64_t last) {
      float normals[chunk];
      for (std::int64_t c = first; c < last; c += chunk) {
        std::int64_t const n = std::min(chunk, last - c);
        draw(op, static_cast<std::uint64_t>((op.row0 + r) * op.logical_cols + op.col0 + c), n, normals);
        convert(normals, row<T>(op.x, r) + c, n);
      }
    });
  });
}

Cost cost(Cast const& op) { return {.work = Work::stream, .bytes = static_cast<double>(op.x.bytes() + op.y.bytes())}; }
Cost cost(Fill const& op) { return {.work = Work::stream, .bytes = static_cast<double>(op.x.bytes())}; }
Cost cost(InitNormal const& op) { return {.work = Work::stream, .bytes = static_cast<double>(op.x.bytes())}; }
std::int64_t workspace(Cast const&, std::int64_t) { return 0; }
std::int64_t workspace(Fill const&, std::int64_t) { return 0; }
std::int64_t workspace(InitNormal const&, std::int64_t) { return 0; }

}  // namespace selenite
