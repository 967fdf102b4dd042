#include <algorithm>
#include <cmath>
#include <limits>

#include "core/element.hpp"
#include "kernels/attention/mask.hpp"
#include "kernels/matrix_attention/matrix_attention.hpp"

namespace selenite {
namespace {

/// Calls body(sample, head, row of the first query, row of the first key, column of the query head, column of the kv
/// head).
template <class Body>
void for_heads(AttentionShape const& s, Body&& body) {
  std::int64_t const group = s.heads / s.kv_heads;
  for (std::int64_t sample = 0; sample < s.samples; ++sample)
    for (std::int64_t head = 0; head < s.heads; ++head)
      body(sample, head, sample * s.queries, sample * s.keys, head * s.head_dim, head / group * s.head_dim);
}

void clear(Tensor const& x) {
  for (std::int64_t i = 0; i < x.count(); ++i) store(x, i, 0);
}
void add(Tensor const& x, std::int64_t row, std::int64_t col, double value) {
  store(x, row, col, load(x, row, col) + value);
}

}  // namespace

void reference(AttentionScores const& op) {
  AttentionShape const& s = op.shape;
  for_heads(s, [&](auto sample, auto head, auto query0, auto key0, auto col, auto kv_col) {
    for (std::int64_t i = 0; i < s.queries; ++i) {
      for (std::int64_t j = 0; j < s.keys; ++j) {
        double sum = 0;
        for (std::int64_t d = 0; d < s.head_dim; ++d)
          sum += load(op.q, query0 + i, col + d) * load(op.k, key0 + j, kv_col + d);
        store(op.scores, (sample * s.heads + head) * s.queries + i, j, s.scale * sum);
      }
    }
  });
}

void reference(MaskedSoftmax const& op) {
  AttentionShape const& s = op.shape;
  Places const queries(op.query_places, s.queries), keys(op.key_places, s.keys);
  AttentionDropout const dropout(s.dropout);
  for_heads(s, [&](auto sample, auto head, auto, auto, auto, auto) {
    for (std::int64_t i = 0; i < s.queries; ++i) {
      std::int64_t const row = (sample * s.heads + head) * s.queries + i;
      Place const query = queries(sample, i);
      auto seen = [&](std::int64_t j) { return sees(s.causal, query, keys(sample, j)); };
      double maximum = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::int64_t j = 0; j < s.keys; ++j)
        if (seen(j)) maximum = std::max(maximum, load(op.scores, row, j));
      for (std::int64_t j = 0; j < s.keys; ++j)
        if (seen(j)) sum += std::exp(load(op.scores, row, j) - maximum);
      for (std::int64_t j = 0; j < s.keys; ++j) {
        double const p = seen(j) ? std::exp(load(op.scores, row, j) - maximum) / sum : 0;
        store(op.probabilities, row, j, p);
        if (!op.dropped.defined()) continue;
        bool const drops = dropout.drops(
            sample_id(op.sample_ids, sample), static_cast<std::uint64_t>(s.first_head + head),
            static_cast<std::uint64_t>(query.position), static_cast<std::uint64_t>(keys(sample, j).position));
        store(op.dropped, row, j, drops ? 0 : p * dropout.keep_scale());
      }
    }
  });
}

void reference(AttentionValues const& op) {
  AttentionShape const& s = op.shape;
  for_heads(s, [&](auto sample, auto head, auto query0, auto key0, auto col, auto kv_col) {
    for (std::int64_t i = 0; i < s.queries; ++i) {
      for (std::int64_t d = 0; d < s.head_dim; ++d) {
        double sum = 0;
        for (std::int64_t j = 0; j < s.keys; ++j)
          sum +=
              load(op.probabilities, (sample * s.heads + head) * s.queries + i, j) * load(op.v, key0 + j, kv_col + d);
        store(op.out, query0 + i, col + d, sum);
      }
    }
  });
}

void reference(MatrixAttentionBackward const& op) {
  AttentionShape const& s = op.shape;
  Tensor const& dropped = op.dropped.defined() ? op.dropped : op.probabilities;
  clear(op.dq), clear(op.dk), clear(op.dv);
  for_heads(s, [&](auto sample, auto head, auto query0, auto key0, auto col, auto kv_col) {
    for (std::int64_t i = 0; i < s.queries; ++i) {
      std::int64_t const row = (sample * s.heads + head) * s.queries + i;
      double row_sum = 0;
      for (std::int64_t j = 0; j < s.keys; ++j) {
        double sum = 0;
        for (std::int64_t d = 0; d < s.head_dim; ++d) {
          sum += load(op.dout, query0 + i, col + d) * load(op.v, key0 + j, kv_col + d);
          add(op.dv, key0 + j, kv_col + d, load(dropped, row, j) * load(op.dout, query0 + i, col + d));
        }
        row_sum += load(dropped, row, j) * sum;
        store(op.dscores, row, j, sum);
      }
      for (std::int64_t j = 0; j < s.keys; ++j) {
        double const ds = load(dropped, row, j) * load(op.dscores, row, j) - load(op.probabilities, row, j) * row_sum;
        store(op.dscores, row, j, ds);
        for (std::int64_t d = 0; d < s.head_dim; ++d) {
          add(op.dq, query0 + i, col + d, s.scale * ds * load(op.k, key0 + j, kv_col + d));
          add(op.dk, key0 + j, kv_col + d, s.scale * ds * load(op.q, query0 + i, col + d));
        }
      }
    }
  });
}

}  // namespace selenite
