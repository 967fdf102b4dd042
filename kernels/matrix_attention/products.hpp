#pragma once
#include "core/arena.hpp"
#include "kernels/gemm/gemm.hpp"
#include "kernels/matrix_attention/matrix_attention.hpp"

namespace selenite {

// The products of the operations as Gemms, one a (sample, head).

/// Query heads that read one kv head.
inline std::int64_t group_of(AttentionShape const& s) { return s.heads / s.kv_heads; }

/// The queries of one (sample, head), the keys of its kv head, and its matrix.
inline Tensor queries_of(AttentionShape const& s, Tensor const& x, std::int64_t sample, std::int64_t head) {
  return x.row_range(sample * s.queries, s.queries).columns(head * s.head_dim, s.head_dim);
}
inline Tensor keys_of(AttentionShape const& s, Tensor const& x, std::int64_t sample, std::int64_t kv_head) {
  return x.row_range(sample * s.keys, s.keys).columns(kv_head * s.head_dim, s.head_dim);
}
inline Tensor matrix_of(AttentionShape const& s, Tensor const& x, std::int64_t sample, std::int64_t head) {
  return x.row_range((sample * s.heads + head) * s.queries, s.queries);
}

inline Gemm scores_gemm(AttentionScores const& op, std::int64_t sample, std::int64_t head) {
  AttentionShape const& s = op.shape;
  return {.a = queries_of(s, op.q, sample, head),
          .b = keys_of(s, op.k, sample, head / group_of(s)),
          .out = matrix_of(s, op.scores, sample, head),
          .transpose_b = true,
          .scale = s.scale};
}
/// `scale`: 1 forward.
inline Gemm values_gemm(AttentionValues const& op, std::int64_t sample, std::int64_t head, double scale = 1) {
  AttentionShape const& s = op.shape;
  return {.a = matrix_of(s, op.probabilities, sample, head),
          .b = keys_of(s, op.v, sample, head / group_of(s)),
          .out = queries_of(s, op.out, sample, head),
          .scale = scale};
}

/// out[keys, head_dim] of a kv head = scale * the sum of a^T b over its query heads; sums in fp32.
struct SumOverGroup {
  AttentionShape const& shape;
  Tensor const &a, &b, &out;
  double scale;

  /// Otherwise a sum needs fp32 scratch before it is rounded to `out`.
  bool direct() const { return shape.heads == shape.kv_heads || out.dtype() == DType::fp32; }
  /// Scratch of one kv head.
  std::int64_t sum_bytes() const { return direct() ? 0 : align_up(shape.keys * shape.head_dim * 4, Arena::alignment); }
  /// Adds the head's part to `sum`.
  Gemm gemm(std::int64_t sample, std::int64_t head, Tensor const& sum) const {
    return {.a = matrix_of(shape, a, sample, head),
            .b = queries_of(shape, b, sample, head),
            .out = sum,
            .transpose_a = true,
            .accumulate = head % group_of(shape) != 0,
            .scale = scale};
  }
};

/// The gradients of one op are four products over the heads.
struct BackwardParts {
  AttentionScores dprobabilities;
  AttentionValues dq;
  SumOverGroup dk, dv;
};
inline BackwardParts parts_of(MatrixAttentionBackward const& op) {
  Tensor const& dropped = op.dropped.defined() ? op.dropped : op.probabilities;
  AttentionShape unscaled = op.shape;
  unscaled.scale = 1;
  return {{unscaled, op.dout, op.v, op.dscores},
          {op.shape, op.dscores, op.k, op.dq},
          {op.shape, op.dscores, op.q, op.dk, op.shape.scale},
          {op.shape, dropped, op.dout, op.dv, 1}};
}

}  // namespace selenite
