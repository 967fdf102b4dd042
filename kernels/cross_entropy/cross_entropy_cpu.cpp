#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cpu.hpp"
#include "core/pieces.hpp"
#include "core/simd_math.hpp"
#include "kernels/cross_entropy/cross_entropy.hpp"

namespace selenite {
namespace {

using namespace simd;

/// Elements ahead of the one in hand to ask for: two pages, since the processor's own prefetching starts anew in each.
template <class T>
constexpr std::int64_t ahead = 8192 / sizeof(T);
constexpr float lowest = -std::numeric_limits<float>::infinity();

std::int64_t real_columns(Tensor const& logits, std::int64_t first_column, std::int64_t vocab_size) {
  return std::clamp<std::int64_t>(vocab_size - first_column, 0, logits.cols());
}
/// The label's column in this shard, or -1.
std::int64_t label_column(Tensor const& labels, std::int64_t t, std::int64_t first_column, std::int64_t real) {
  std::int64_t const column = labels.data<std::int32_t>()[t] - first_column;
  return column >= 0 && column < real ? column : -1;
}

struct MaximumAndSum {
  float maximum, sum;
};
/// The same while they are sought, lane by lane.
struct Running {
  Floats top[4], sums[4];

  float maximum() const {
    return simd::maximum(simd::maximum(simd::maximum(top[0], top[1]), simd::maximum(top[2], top[3])));
  }
};

template <class T>
SELENITE_INLINE void add(Running& to, T const* logits, std::int64_t n, float pivot) {
  Running r = to;  // in registers
  for_any_order4(n, [&](auto i, auto part, auto k) SELENITE_LAMBDA {
    if constexpr (std::is_same_v<decltype(part), First>) prefetch(logits + i + ahead<T>);
    Floats const value = load(logits + i, part);
    r.top[k] = simd::maximum(r.top[k], keep(value, lowest, part));
    r.sums[k] += keep(exp_softmax(value, pivot), 0, part);
  });
  to = r;
}

/// One pass: the exponentials are taken against the largest logit of the first block while the maximum of all is
/// sought; only where a block goes far beyond that is it done again against its own. What is summed stays far from
/// overflow.
template <class T>
MaximumAndSum statistics(T const* logits, std::int64_t n) {
  constexpr std::int64_t block = 1024;
  constexpr float far = 40;
  if (n <= 0) return {lowest, 0};
  Running r;
  for (int k = 0; k < 4; ++k) r.top[k] = broadcast(lowest), r.sums[k] = Floats{};
  for_any_order4(std::min(block, n), [&](auto i, auto part, auto k) SELENITE_LAMBDA {
    r.top[k] = simd::maximum(r.top[k], keep(load(logits + i, part), lowest, part));
  });
  float pivot = r.maximum();
  for (std::int64_t first = 0; first < n; first += block) {
    std::int64_t const count = std::min(block, n - first);
    Running const before = r;
    add(r, logits + first, count, pivot);
    if (float const grown = r.maximum(); grown > pivot + far) {
      auto const shrink = static_cast<float>(softmax_factor(pivot, grown) / softmax_factor(grown, grown));
      for (int k = 0; k < 4; ++k) r.sums[k] = before.sums[k] * shrink;
      pivot = grown;
      add(r, logits + first, count, pivot);
    }
  }
  float const maximum = r.maximum();
  double const total = sum((r.sums[0] + r.sums[1]) + (r.sums[2] + r.sums[3]));
  return {maximum, static_cast<float>(total * softmax_factor(pivot, maximum))};
}

template <class T>
void backward_row(CrossEntropyBackward const& op, std::int64_t t, std::int64_t real) {
  T const* const x = row<T>(op.logits, t);
  T* const dx = row<T>(op.dlogits, t);
  std::int64_t const label = label_column(op.labels, t, op.first_column, real), n = op.logits.cols();
  float const weight = op.weights.data<std::uint8_t>()[t], logsumexp = op.logsumexp.data<float>()[t];
  if (weight == 0) {
    std::fill_n(dx, n, T(0.0f));
    return;
  }
  float const scale = static_cast<float>(op.scale) * weight;
  float const at_label = label >= 0 ? static_cast<float>(x[label]) : 0;  // read before it is overwritten in place
  auto const factor = static_cast<float>(scale * softmax_factor(logsumexp, logsumexp));
  auto const gradient = [&](auto i, auto part) SELENITE_LAMBDA {
    if constexpr (std::is_same_v<decltype(part), First>) prefetch(x + i + ahead<T>);
    return exp_softmax(load(x + i, part), logsumexp) * factor;
  };
  if (streamable(dx, x == dx ? 0 : op.dlogits.bytes()))
    transform<true>(dx, real, gradient);
  else
    transform<false>(dx, real, gradient);
  if (label >= 0) dx[label] = T(std::expm1(at_label - logsumexp) * scale);
  std::fill(dx + real, dx + n, T(0.0f));
}

}  // namespace

void launch(Cpu&, CrossEntropyStatistics const& op) {
  std::int64_t const real = real_columns(op.logits, op.first_column, op.vocab_size);
  visit_float(op.logits.dtype(), [&]<class T>(T) {
    parallel_for(op.logits.rows(), rows_a_piece(op.logits.cols()), [&](std::int64_t first, std::int64_t last) {
      FlushDenormals const flush;
      for (std::int64_t t = first; t < last; ++t) {
        T const* const x = row<T>(op.logits, t);
        MaximumAndSum const s = statistics(x, real);
        std::int64_t const label = label_column(op.labels, t, op.first_column, real);
        EXPECTS(op.labels.data<std::int32_t>()[t] < op.vocab_size);
        op.maximum.data<float>()[t] = s.maximum;
        op.sum.data<float>()[t] = s.sum;
        op.target.data<float>()[t] = label >= 0 ? static_cast<float>(x[label]) : 0;
      }
    });
  });
}

void launch(Cpu&, CrossEntropyRescale const& op) {
  float const *const maximum = op.maximum.data<float>(), *const largest = op.new_maximum.data<float>();
  float* const sum = op.sum.data<float>();
  for (std::int64_t t = 0; t < op.sum.count(); ++t)  // NaN stays NaN; a shard of padding alone has sum 0
    if (sum[t] != 0) sum[t] *= std::exp(maximum[t] - largest[t]);
}

void launch(Cpu&, CrossEntropyLoss const& op) {
  std::int64_t const tokens = op.losses.count();
  float const *const maximum = op.maximum.data<float>(), *const sum = op.sum.data<float>(),
                     *const target = op.target.data<float>();
  std::uint8_t const* const weights = op.weights.data<std::uint8_t>();
  double loss_sum = 0, counted = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {  // a few thousand logarithms: not worth a thread
    double const logsumexp = maximum[t] + std::log(static_cast<double>(sum[t])), weight = weights[t];
    double const loss = weight == 0 ? 0 : weight * (logsumexp - target[t]);
    op.logsumexp.data<float>()[t] = static_cast<float>(logsumexp);
    op.losses.data<float>()[t] = static_cast<float>(loss);
    loss_sum += loss, counted += weight;
  }
  op.totals.data<double>()[0] += loss_sum;
  op.totals.data<double>()[1] += counted;
}

void launch(Cpu&, CrossEntropyBackward const& op) {
  std::int64_t const real = real_columns(op.logits, op.first_column, op.vocab_size);
  visit_float(op.logits.dtype(), [&]<class T>(T) {
    parallel_for(op.logits.rows(), rows_a_piece(op.logits.cols()), [&](std::int64_t first, std::int64_t last) {
      FlushDenormals const flush;
      for (std::int64_t t = first; t < last; ++t) backward_row<T>(op, t, real);
      stream_fence();
    });
  });
}

Cost cost(CrossEntropyStatistics const& op) {
  return {.work = Work::stream,
          .bytes = static_cast<double>(op.logits.bytes() + op.labels.bytes() + op.maximum.bytes() + op.sum.bytes() +
                                       op.target.bytes()),
          .logits = static_cast<double>(op.logits.count())};
}
Cost cost(CrossEntropyRescale const& op) {
  return {.work = Work::stream, .bytes = static_cast<double>(4 * op.sum.bytes())};
}
Cost cost(CrossEntropyLoss const& op) {
  return {.work = Work::stream,
          .bytes = static_cast<double>(5 * op.losses.bytes() + op.weights.bytes() + 2 * op.totals.bytes())};
}
Cost cost(CrossEntropyBackward const& op) {
  return {.work = Work::stream,
          .bytes = static_cast<double>(op.logits.bytes() + op.dlogits.bytes() + op.labels.bytes() + op.weights.bytes() +
                                       op.logsumexp.bytes()),
          .logits = static_cast<double>(op.logits.count()),
          .backward = true};
}
std::int64_t workspace(CrossEntropyStatistics const&, std::int64_t) { return 0; }
std::int64_t workspace(CrossEntropyRescale const&, std::int64_t) { return 0; }
std::int64_t workspace(CrossEntropyLoss const&, std::int64_t) { return 0; }
std::int64_t workspace(CrossEntropyBackward const&, std::int64_t) { return 0; }

}  // namespace selenite
