#include <cmath>
#include <limits>
#include <vector>

#include "core/element.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/attention/mask.hpp"

namespace selenite {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// One query row against all keys of its sample, in double; shared by forward and backward.
struct Row {
  AttentionShape const& shape;
  AttentionPlaces const &query_places, &key_places;
  Tensor const& sample_ids;
  std::int64_t sample, head, query;

  std::int64_t query_row() const { return sample * shape.queries + query; }
  std::int64_t key_row(std::int64_t key) const { return sample * shape.keys + key; }
  std::int64_t stat() const { return (sample * shape.heads + head) * shape.queries + query; }
  std::int64_t query_col(std::int64_t i) const { return head * shape.head_dim + i; }
  std::int64_t key_col(std::int64_t i) const { return head / (shape.heads / shape.kv_heads) * shape.head_dim + i; }

  bool sees_key(std::int64_t key) const {
    return sees(shape.causal, Places(query_places, shape.queries)(sample, query),
                Places(key_places, shape.keys)(sample, key));
  }
  /// 0 for a dropped probability, else what it is multiplied by.
  double keep(std::int64_t key) const {
    AttentionDropout const dropout(shape.dropout);
    if (!dropout.active()) return 1;
    auto const p = static_cast<std::uint64_t>(Places(query_places, shape.queries)(sample, query).position);
    auto const k = static_cast<std::uint64_t>(Places(key_places, shape.keys)(sample, key).position);
    auto const h = static_cast<std::uint64_t>(shape.first_head + head);
    return dropout.drops(sample_id(sample_ids, sample), h, p, k) ? 0 : dropout.keep_scale();
  }
  double score(Tensor const& q, Tensor const& k, std::int64_t key) const {
    double sum = 0;
    for (std::int64_t i = 0; i < shape.head_dim; ++i)
      sum += load(q, query_row(), query_col(i)) * load(k, key_row(key), key_col(i));
    return sum * shape.scale;
  }
};

template <class Op, class Body>
void for_each_row(Op const& op, Body body) {
  AttentionShape const& s = op.shape;
  for (std::int64_t sample = 0; sample < s.samples; ++sample)
    for (std::int64_t head = 0; head < s.heads; ++head)
      for (std::int64_t query = 0; query < s.queries; ++query)
        body(Row{s, op.query_places, op.key_places, op.sample_ids, sample, head, query});
}

void forward_row(Attention const& op, Row const& row) {
  std::vector<double> scores(static_cast<std::size_t>(op.shape.keys), -infinity);
  double top = op.merge ? load(op.logsumexp, row.stat()) : -infinity;
  for (std::int64_t key = 0; key < op.shape.keys; ++key) {
    auto& score = scores[static_cast<std::size_t>(key)];
    if (row.sees_key(key)) score = row.score(op.q, op.k, key);
    top = std::max(top, score);
  }
  std::vector<double> out(static_cast<std::size_t>(op.shape.head_dim), 0.0);
  double sum = 0;
  if (op.merge && top > -infinity) {  // what is there counts as one more key, of value out
    sum = std::exp(load(op.logsumexp, row.stat()) - top);
    for (std::int64_t i = 0; i < op.shape.head_dim; ++i)
      out[static_cast<std::size_t>(i)] = sum * load(op.out, row.query_row(), row.query_col(i));
  }
  for (std::int64_t key = 0; key < op.shape.keys; ++key) {
    if (!row.sees_key(key)) continue;
    double const p = std::exp(scores[static_cast<std::size_t>(key)] - top), kept = p * row.keep(key);
    sum += p;
    for (std::int64_t i = 0; i < op.shape.head_dim; ++i)
      out[static_cast<std::size_t>(i)] += kept * load(op.v, row.key_row(key), row.key_col(i));
  }
  for (std::int64_t i = 0; i < op.shape.head_dim; ++i)
    store(op.out, row.query_row(), row.query_col(i), sum > 0 ? out[static_cast<std::size_t>(i)] / sum : 0);
  store(op.logsumexp, row.stat(), sum > 0 ? top + std::log(sum) : -infinity);
}

void add(Tensor const& x, std::int64_t row, std::int64_t col, double value) {
  store(x, row, col, load(x, row, col) + value);
}

void zero(Tensor const& x) {
  for (std::int64_t row = 0; row < x.rows(); ++row)
    for (std::int64_t col = 0; col < x.cols(); ++col) store(x, row, col, 0);
}

/// delta of one row: made from out where that is given, else read.
double row_delta(AttentionBackward const& op, Row const& row) {
  if (!op.out.defined()) return load(op.delta, row.stat());
  double sum = 0;
  for (std::int64_t i = 0; i < op.shape.head_dim; ++i)
    sum += load(op.dout, row.query_row(), row.query_col(i)) * load(op.out, row.query_row(), row.query_col(i));
  store(op.delta, row.stat(), sum);
  return sum;
}

void backward_row(AttentionBackward const& op, Row const& row) {
  double const delta = row_delta(op, row), logsumexp = load(op.logsumexp, row.stat());
  for (std::int64_t key = 0; key < op.shape.keys; ++key) {
    if (!row.sees_key(key)) continue;
    double const p = std::exp(row.score(op.q, op.k, key) - logsumexp), keep = row.keep(key);
    double dp = 0;
    for (std::int64_t i = 0; i < op.shape.head_dim; ++i)
      dp += load(op.dout, row.query_row(), row.query_col(i)) * load(op.v, row.key_row(key), row.key_col(i));
    double const ds = p * (keep * dp - delta) * op.shape.scale;
    for (std::int64_t i = 0; i < op.shape.head_dim; ++i) {
      std::int64_t const qr = row.query_row(), kr = row.key_row(key), qc = row.query_col(i), kc = row.key_col(i);
      add(op.dv, kr, kc, p * keep * load(op.dout, qr, qc));
      add(op.dq, qr, qc, ds * load(op.k, kr, kc));
      add(op.dk, kr, kc, ds * load(op.q, qr, qc));
    }
  }
}

}  // namespace

void reference(Attention const& op) {
  for_each_row(op, [&](Row const& row) { forward_row(op, row); });
}

void reference(AttentionBackward const& op) {
  if (!op.accumulate) zero(op.dq), zero(op.dk), zero(op.dv);
  for_each_row(op, [&](Row const& row) { backward_row(op, row); });
}

}  // namespace selenite
