#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

#include "core/cpu.hpp"
#include "core/pieces.hpp"
#include "core/simd.hpp"
#include "kernels/quantize/quantize.hpp"
#include "kernels/quantize/scale.hpp"

namespace selenite {
namespace {

using namespace simd;

/// The largest magnitude that any thread has seen. Bits of magnitudes are ordered as they are; NaN is not among them.
class Largest {
 public:
  explicit Largest(Tensor const& amax) : amax_(amax) {
    if (amax_.defined()) bits_ = std::bit_cast<std::uint32_t>(*amax_.data<float>());
  }
  ~Largest() {
    if (amax_.defined()) *amax_.data<float>() = std::bit_cast<float>(bits_.load());
  }
  Largest(Largest const&) = delete;
  Largest& operator=(Largest const&) = delete;
  void see(float value) {
    auto const bits = std::bit_cast<std::uint32_t>(value);
    for (std::uint32_t before = bits_.load(); before < bits && !bits_.compare_exchange_weak(before, bits);) {
    }
  }

 private:
  Tensor amax_;
  std::atomic<std::uint32_t> bits_ = 0;
};

/// The larger of both; where x is NaN, `largest`.
SELENITE_INLINE Floats larger(Floats largest, Floats x) {
  Floats const magnitude = as_floats(as_words(x) & 0x7fffffffu);
  return magnitude > largest ? magnitude : largest;
}

template <class T>
float largest_of(T const* x, std::int64_t n) {
  Floats largest{};
  for_lanes(n, [&](auto i, auto part) SELENITE_LAMBDA { largest = larger(largest, simd::load(x + i, part)); });
  return maximum(largest);
}

/// y = x * scale for n elements; returns their largest magnitude.
template <class T, class Y>
float round_run(T const* x, Y* y, float scale, std::int64_t n) {
  Floats largest{};
  for_lanes(n, [&](auto i, auto part) SELENITE_LAMBDA {
    Floats const v = simd::load(x + i, part);
    largest = larger(largest, v);
    simd::store(y + i, v * scale, part);
  });
  return maximum(largest);
}

constexpr std::int64_t edge = 64;  // of a tile that is turned over in the first cache

/// Tiles of rows by columns: rounded once, then written in both orders where both are wanted.
template <class T, class Y>
void quantize(Quantize const& op, float scale) {
  std::int64_t const rows = op.x.rows(), cols = op.x.cols(), across = (cols + edge - 1) / edge;
  Largest all(op.amax);
  parallel_for((rows + edge - 1) / edge * across, 8, [&](std::int64_t first, std::int64_t last) {
    Y tile[edge * edge];
    float largest = 0;
    for (std::int64_t t = first; t < last; ++t) {
      std::int64_t const r0 = t / across * edge, c0 = t % across * edge, height = std::min(edge, rows - r0),
                         width = std::min(edge, cols - c0);
      for (std::int64_t r = 0; r < height; ++r)
        largest = std::max(largest, round_run(row<T>(op.x, r0 + r) + c0, tile + r * edge, scale, width));
      for (std::int64_t r = 0; r < height && op.y.defined(); ++r)
        std::copy_n(tile + r * edge, width, row<Y>(op.y, r0 + r) + c0);
      for (std::int64_t c = 0; c < width && op.transposed.defined(); ++c) {
        Y* const to = row<Y>(op.transposed, c0 + c) + r0;
        for (std::int64_t r = 0; r < height; ++r) to[r] = tile[r * edge + c];
      }
    }
    all.see(largest);
  });
}

}  // namespace

void launch(Cpu&, Quantize const& op) {
  float const scale = *op.scale.data<float>();
  visit_float(op.x.dtype(), [&]<class T>(T) {
    op.dtype() == DType::e4m3 ? quantize<T, e4m3>(op, scale) : quantize<T, e5m2>(op, scale);
  });
}

void launch(Cpu&, AbsMax const& op) {
  Largest all(op.amax);
  visit_float(op.x.dtype(), [&]<class T>(T) {
    for_row_pieces(op.x.rows(), op.x.cols(), op.x.contiguous(),
                   [&](std::int64_t r, std::int64_t first, std::int64_t last) {
                     all.see(largest_of(row<T>(op.x, r) + first, last - first));
                   });
  });
}

void launch(Cpu&, UpdateScales const& op) {
  ScaleRule const rule{std::bit_cast<std::uint32_t>(static_cast<float>(op.largest)),
                       std::bit_cast<std::uint32_t>(static_cast<float>(op.initial)),
                       static_cast<std::int32_t>(op.margin)};
  auto* const amax = op.amax.data<float>();
  auto* const scale = op.scale.data<float>();
  for (std::int64_t i = 0; i < op.history.rows(); ++i) {
    float *const begin = row<float>(op.history, i), *const end = begin + op.history.cols();
    if (op.push && std::isfinite(amax[i])) std::copy_backward(begin, end - 1, end), *begin = amax[i];
    if (op.push) amax[i] = 0;
    std::uint32_t const bits = scale_bits(std::bit_cast<std::uint32_t>(*std::max_element(begin, end)), rule);
    scale[i] = std::bit_cast<float>(bits), *row<float>(op.inverse, i) = std::bit_cast<float>(inverse_bits(bits));
  }
}

}  // namespace selenite
