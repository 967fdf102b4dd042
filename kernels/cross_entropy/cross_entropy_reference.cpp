#include <algorithm>
#include <cmath>
#include <limits>

#include "core/element.hpp"
#include "kernels/cross_entropy/cross_entropy.hpp"

namespace selenite {
namespace {

/// Columns of this shard that are no padding.
std::int64_t real_columns(Tensor const& logits, std::int64_t first_column, std::int64_t vocab_size) {
  return std::clamp<std::int64_t>(vocab_size - first_column, 0, logits.cols());
}
/// The label's column in this shard, or -1.
std::int64_t label_column(Tensor const& labels, std::int64_t t, std::int64_t first_column, std::int64_t real) {
  auto const label = static_cast<std::int64_t>(load(labels, t));
  return label >= first_column && label < first_column + real ? label - first_column : -1;
}

}  // namespace

void reference(CrossEntropyStatistics const& op) {
  std::int64_t const real = real_columns(op.logits, op.first_column, op.vocab_size);
  for (std::int64_t t = 0; t < op.logits.rows(); ++t) {
    double maximum = -std::numeric_limits<double>::infinity(), sum = 0;
    for (std::int64_t c = 0; c < real; ++c) maximum = std::max(maximum, load(op.logits, t, c));
    for (std::int64_t c = 0; c < real; ++c) sum += std::exp(load(op.logits, t, c) - maximum);
    std::int64_t const label = label_column(op.labels, t, op.first_column, real);
    store(op.maximum, t, maximum);
    store(op.sum, t, sum);
    store(op.target, t, label >= 0 ? load(op.logits, t, label) : 0);
  }
}

void reference(CrossEntropyRescale const& op) {
  for (std::int64_t t = 0; t < op.sum.count(); ++t)
    if (load(op.sum, t) > 0)
      store(op.sum, t, load(op.sum, t) * std::exp(load(op.maximum, t) - load(op.new_maximum, t)));
}

void reference(CrossEntropyLoss const& op) {
  double loss_sum = 0, counted = 0;
  for (std::int64_t t = 0; t < op.losses.count(); ++t) {
    double const logsumexp = load(op.maximum, t) + std::log(load(op.sum, t)), weight = load(op.weights, t);
    double const loss = weight == 0 ? 0 : weight * (logsumexp - load(op.target, t));
    store(op.logsumexp, t, logsumexp);
    store(op.losses, t, loss);
    loss_sum += loss, counted += weight;
  }
  store(op.totals, 0, load(op.totals, 0) + loss_sum);
  store(op.totals, 1, load(op.totals, 1) + counted);
}

void reference(CrossEntropyBackward const& op) {
  std::int64_t const real = real_columns(op.logits, op.first_column, op.vocab_size);
  for (std::int64_t t = 0; t < op.logits.rows(); ++t) {
    std::int64_t const label = label_column(op.labels, t, op.first_column, real);
    double const weight = load(op.weights, t), logsumexp = load(op.logsumexp, t);
    for (std::int64_t c = 0; c < op.logits.cols(); ++c) {
      bool const counts = c < real && weight != 0;
      double const probability = counts ? std::exp(load(op.logits, t, c) - logsumexp) : 0;
      store(op.dlogits, t, c, counts ? op.scale * weight * (probability - (c == label ? 1 : 0)) : 0);
    }
  }
}

}  // namespace selenite
