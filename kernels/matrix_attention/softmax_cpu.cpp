#include "kernels/matrix_attention/softmax_cpu.hpp"

#include <algorithm>
#include <limits>

#include "core/cpu.hpp"
#include "core/parallel_for.hpp"
#include "core/simd_math.hpp"
#include "kernels/attention/mask.hpp"

namespace selenite {
namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();
constexpr std::int64_t rows_a_piece = 16;

/// The keys of a sample: what one row of the matrix is masked by, a vector of them at a time.
class Keys {
 public:
  Keys(MaskedSoftmax const& op, std::int64_t sample) : causal_(op.shape.causal), length_(op.shape.keys) {
    positions_ = row_of(op.key_places.positions, sample);
    starts_ = row_of(op.key_places.document_starts, sample);
    for (int i = 0; i < simd::lanes; ++i) iota_[i] = static_cast<std::uint32_t>(i);
  }
  template <class Part>
  simd::Words positions(std::int64_t j, Part part) const {
    return positions_ ? simd::load(positions_ + j, part) : iota_ + static_cast<std::uint32_t>(j);
  }
  /// x where the query sees the key, else -inf; sees() of attention/mask.hpp in vectors.
  template <class Part>
  simd::Floats masked(simd::Floats x, Place query, std::int64_t j, Part part) const {
    simd::Words const position = positions(j, part);
    auto const start = static_cast<std::uint32_t>(query.document_start);
    auto seen = position >= start;
    if (causal_)
      seen &= position <= static_cast<std::uint32_t>(query.position);
    else
      seen &= (starts_ ? simd::load(starts_ + j, part) : simd::Words{}) == start;
    return simd::keep(seen ? x : simd::broadcast(minus_infinity), minus_infinity, part);
  }
  /// No key from here on is seen.
  std::int64_t limit(Place query) const {
    return causal_ && !positions_ ? std::min<std::int64_t>(length_, query.position + 1) : length_;
  }

 private:
  static std::uint32_t const* row_of(Tensor const& x, std::int64_t sample) {
    return x.defined() ? reinterpret_cast<std::uint32_t const*>(x.data<std::int32_t>() + sample * x.row_stride())
                       : nullptr;
  }
  bool causal_;
  std::int64_t length_;
  std::uint32_t const *positions_, *starts_;
  simd::Words iota_;
};

/// 0 or the scale of what is kept, for the keys at these positions.
simd::Floats dropout_factors(AttentionDropout const& dropout, std::uint64_t sample, std::uint64_t head,
                             std::uint64_t query, simd::Words positions) {
  simd::Floats factors;
  std::uint64_t octet = ~std::uint64_t{0};
  std::uint32_t bits = 0;
  for (int i = 0; i < simd::lanes; ++i) {
    std::uint32_t const position = positions[i];
    if (position / 8 != octet) octet = position / 8, bits = dropout.dropped(sample, head, query, octet);
    factors[i] = bits >> (position % 8) & 1u ? 0.0f : static_cast<float>(dropout.keep_scale());
  }
  return factors;
}

template <class T>
struct Row {
  T const* scores;
  T* probabilities;
  T* dropped;  ///< or null
};

/// Three passes over a row in the cache: maximum; sum of exp; probabilities from a second exp, so that nothing is
/// rounded twice.
template <class T, class Factors>
void softmax_row(Row<T> row, Keys const& keys, Place query, std::int64_t count, Factors&& factors) {
  std::int64_t const limit = keys.limit(query);
  simd::Floats maxima = simd::broadcast(minus_infinity), sums{};
  auto score = [&](std::int64_t j, auto part) { return keys.masked(simd::load(row.scores + j, part), query, j, part); };
  simd::for_lanes(limit, [&](std::int64_t j, auto part) { maxima = simd::maximum(maxima, score(j, part)); });
  float const maximum = simd::maximum(maxima);
  bool const none = maximum == minus_infinity;
  simd::for_lanes(none ? 0 : limit, [&](std::int64_t j, auto part) { sums += simd::exp(score(j, part) - maximum); });
  float const inverse = none ? 0.0f : 1.0f / simd::sum(sums);
  simd::for_lanes(none ? 0 : limit, [&](std::int64_t j, auto part) {
    simd::Floats const p = simd::exp(score(j, part) - maximum) * inverse;
    simd::store(row.probabilities + j, p, part);
    if (row.dropped) simd::store(row.dropped + j, p * factors(keys.positions(j, part)), part);
  });
  std::int64_t const written = none ? 0 : limit;
  std::fill(row.probabilities + written, row.probabilities + count, T{});
  if (row.dropped) std::fill(row.dropped + written, row.dropped + count, T{});
}

template <class T>
void softmax(MaskedSoftmax const& op) {
  AttentionShape const& s = op.shape;
  Places const queries(op.query_places, s.queries);
  AttentionDropout const dropout(s.dropout);
  parallel_for(s.samples * s.heads * s.queries, rows_a_piece, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      std::int64_t const sample = i / s.queries / s.heads, head = i / s.queries % s.heads;
      Place const query = queries(sample, i % s.queries);
      Row<T> const row{op.scores.data<T>() + i * op.scores.row_stride(),
                       op.probabilities.data<T>() + i * op.probabilities.row_stride(),
                       op.dropped.defined() ? op.dropped.data<T>() + i * op.dropped.row_stride() : nullptr};
      softmax_row(row, Keys(op, sample), query, s.keys, [&](simd::Words positions) {
        return dropout_factors(dropout, sample_id(op.sample_ids, sample),
                               static_cast<std::uint64_t>(s.first_head + head),
                               static_cast<std::uint64_t>(query.position), positions);
      });
    }
  });
}

}  // namespace

void launch(Cpu&, MaskedSoftmax const& op) {
  simd::visit_float(op.scores.dtype(), [&](auto type) { softmax<decltype(type)>(op); });
}
std::int64_t workspace(MaskedSoftmax const&, std::int64_t) { return 0; }
Cost cost(MaskedSoftmax const& op) {
  return {.bytes = static_cast<double>(op.scores.bytes() + op.probabilities.bytes() +
                                       (op.dropped.defined() ? op.dropped.bytes() : 0)),
          .dtype = op.scores.dtype()};
}

void softmax_backward(MatrixAttentionBackward const& op) {
  Tensor const& dropped = op.dropped.defined() ? op.dropped : op.probabilities;
  std::int64_t const keys = op.shape.keys;
  simd::visit_float(op.dscores.dtype(), [&](auto type) {
    using T = decltype(type);
    parallel_for(op.dscores.rows(), rows_a_piece, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        T* const gradient = op.dscores.data<T>() + i * op.dscores.row_stride();
        T const* const p = op.probabilities.data<T>() + i * op.probabilities.row_stride();
        T const* const d = dropped.data<T>() + i * dropped.row_stride();
        simd::Floats sums{};
        simd::for_lanes(
            keys, [&](std::int64_t j, auto part) { sums += simd::load(d + j, part) * simd::load(gradient + j, part); });
        float const sum = simd::sum(sums);
        simd::for_lanes(keys, [&](std::int64_t j, auto part) {
          simd::store(gradient + j,
                      simd::load(d + j, part) * simd::load(gradient + j, part) - simd::load(p + j, part) * sum, part);
        });
      }
    });
  });
}

}  // namespace selenite
