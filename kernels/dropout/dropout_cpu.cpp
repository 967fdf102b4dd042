#include <limits>

#include "core/cpu.hpp"
#include "core/pieces.hpp"
#include "core/simd_philox.hpp"
#include "kernels/dropout/dropout.hpp"

namespace selenite {
namespace {

using namespace simd;

/// The factors of one row, chunk by chunk, drawn into a buffer in the first-level cache.
class Mask {
 public:
  static constexpr std::int64_t chunk = 512;
  Mask(DropoutSite const& site, TokenPlaces const& tokens, std::int64_t t)
      : key_(site.seed),
        threshold_(dropout_threshold(site.probability)),
        scale_(static_cast<float>(1 / (1 - site.probability))) {
    auto const sample = static_cast<std::uint64_t>(tokens.samples.data<std::int64_t>()[t]);
    auto const place = static_cast<std::uint64_t>(tokens.places.data<std::int32_t>()[t]);
    token_ = pack_counter(Purpose::hidden_dropout, site.layer, site.site, sample, hidden_detail(place, 0));
  }
  /// Draws for features [first, first + count), count <= chunk.
  void draw(std::int64_t first, std::int64_t count) {
    std::int64_t const quad = first / 4, skip = first % 4;
    hidden_words(token_, key_, quad, (skip + count + 3) / 4, words_);
    current_ = words_ + skip;
  }
  /// v scaled where kept, 0 where dropped; i counts from the first feature drawn.
  SELENITE_INLINE Floats apply(Floats v, std::int64_t i) const {
    return load(current_ + i) < threshold_ ? Floats{} : v * scale_;
  }

 private:
  Words4 token_{};
  std::uint64_t key_;
  std::uint32_t threshold_;
  float scale_;
  std::uint32_t* current_ = nullptr;
  std::uint32_t words_[chunk + 4 + philox_slack + lanes];
};

/// y = residual + keep(x + bias), each of the two optional ones null if absent. `keep` is the mask's or nothing.
template <class T, class Keep>
SELENITE_INLINE void add_row(T const* x, T const* bias, T const* residual, T* y, std::int64_t n, Keep keep_lanes) {
  for_lanes(n, [&](auto i, auto part) SELENITE_LAMBDA {
    Floats v = load(x + i, part);
    if (bias) v += load(bias + i, part);
    v = keep_lanes(v, i);
    if (residual) v += load(residual + i, part);
    store(y + i, v, part);
  });
}

/// Columns [first, last) of row t; with p = 0 nothing is drawn.
template <class T>
void drop_row(DropoutAdd const& op, std::int64_t t, std::int64_t first, std::int64_t last) {
  T const *const x = row<T>(op.x, t), *const bias = op.bias.defined() ? op.bias.data<T>() : nullptr;
  T const* const residual = op.residual.defined() ? row<T>(op.residual, t) : nullptr;
  T* const y = row<T>(op.y, t);
  auto from = [](T const* p, std::int64_t c) { return p ? p + c : nullptr; };
  if (op.site.probability == 0) {
    add_row(x + first, from(bias, first), from(residual, first), y + first, last - first,
            [](Floats v, std::int64_t) SELENITE_LAMBDA { return v; });
    return;
  }
  Mask mask(op.site, op.tokens, t);
  for (std::int64_t c = first; c < last; c += Mask::chunk) {
    std::int64_t const n = std::min(Mask::chunk, last - c);
    mask.draw(op.first_feature + c, n);
    add_row(x + c, from(bias, c), from(residual, c), y + c, n,
            [&](Floats v, std::int64_t i) SELENITE_LAMBDA { return mask.apply(v, i); });
  }
}

template <class T>
void add_scaled(Add const& op, T const* x, T* y, std::int64_t n) {
  auto const alpha = static_cast<float>(op.alpha);
  for_lanes(n, [&](auto i, auto part) SELENITE_LAMBDA {
    Floats v = load(x + i, part) * alpha;
    if (op.accumulate) v += load(y + i, part);
    store(y + i, v, part);
  });
}

}  // namespace

void launch(Cpu&, DropoutAdd const& op) {
  visit_float(op.y.dtype(), [&]<class T>(T) {
    for_row_pieces(op.y.rows(), op.y.cols(), false,
                   [&](std::int64_t t, std::int64_t first, std::int64_t last) { drop_row<T>(op, t, first, last); });
  });
}

void launch(Cpu& cpu, DropoutBackward const& op) {
  launch(cpu, DropoutAdd{.x = op.dy,
                         .residual = {},
                         .y = op.dx,
                         .bias = {},
                         .site = op.site,
                         .tokens = op.tokens,
                         .first_feature = op.first_feature});
}

void launch(Cpu&, Add const& op) {
  visit_float(op.x.dtype(), [&]<class T>(T) {
    for_row_pieces(op.y.rows(), op.y.cols(), op.x.contiguous() && op.y.contiguous(),
                   [&](std::int64_t r, std::int64_t first, std::int64_t last) {
                     add_scaled<T>(op, row<T>(op.x, r) + first, row<T>(op.y, r) + first, last - first);
                   });
  });
}

Cost cost(DropoutAdd const& op) {
  std::int64_t const optional =
      (op.residual.defined() ? op.residual.bytes() : 0) + (op.bias.defined() ? op.bias.bytes() : 0);
  return {.work = Work::stream, .bytes = static_cast<double>(op.x.bytes() + op.y.bytes() + optional)};
}
Cost cost(DropoutBackward const& op) {
  return {.work = Work::stream, .bytes = static_cast<double>(op.dy.bytes() + op.dx.bytes())};
}
Cost cost(Add const& op) {
  return {.work = Work::stream, .bytes = static_cast<double>(op.x.bytes() + (op.accumulate ? 2 : 1) * op.y.bytes())};
}
std::int64_t workspace(DropoutAdd const&, std::int64_t) { return 0; }
std::int64_t workspace(DropoutBackward const&, std::int64_t) { return 0; }
std::int64_t workspace(Add const&, std::int64_t) { return 0; }

}  // namespace selenite
