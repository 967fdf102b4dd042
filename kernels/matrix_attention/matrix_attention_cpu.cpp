#include <algorithm>

#include "core/arena.hpp"
#include "core/cpu.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/gemm/gemm.hpp"
#include "kernels/matrix_attention/matrix_attention.hpp"
#include "kernels/matrix_attention/softmax_cpu.hpp"

namespace selenite {
namespace {

/// The queries of one (sample, head), the keys of its kv head, and its matrix.
Tensor queries_of(AttentionShape const& s, Tensor const& x, std::int64_t sample, std::int64_t head) {
  return x.row_range(sample * s.queries, s.queries).columns(head * s.head_dim, s.head_dim);
}
Tensor keys_of(AttentionShape const& s, Tensor const& x, std::int64_t sample, std::int64_t kv_head) {
  return x.row_range(sample * s.keys, s.keys).columns(kv_head * s.head_dim, s.head_dim);
}
Tensor matrix_of(AttentionShape const& s, Tensor const& x, std::int64_t sample, std::int64_t head) {
  return x.row_range((sample * s.heads + head) * s.queries, s.queries);
}

template <class Body>
void for_heads(AttentionShape const& s, Body&& body) {
  for (std::int64_t sample = 0; sample < s.samples; ++sample)
    for (std::int64_t head = 0; head < s.heads; ++head) body(sample, head, head / (s.heads / s.kv_heads));
}

Gemm scores_gemm(AttentionScores const& op, std::int64_t sample, std::int64_t head, std::int64_t kv_head) {
  AttentionShape const& s = op.shape;
  return {.a = queries_of(s, op.q, sample, head),
          .b = keys_of(s, op.k, sample, kv_head),
          .out = matrix_of(s, op.scores, sample, head),
          .transpose_b = true,
          .scale = s.scale};
}
Gemm values_gemm(AttentionValues const& op, std::int64_t sample, std::int64_t head, std::int64_t kv_head) {
  AttentionShape const& s = op.shape;
  return {.a = matrix_of(s, op.probabilities, sample, head),
          .b = keys_of(s, op.v, sample, kv_head),
          .out = queries_of(s, op.out, sample, head)};
}

/// out[keys, head_dim] of a kv head = scale * the sum of a^T b over its query heads; sums in fp32.
struct SumOverGroup {
  AttentionShape const& shape;
  Tensor const &a, &b, &out;
  double scale;

  bool direct() const { return shape.heads == shape.kv_heads || out.dtype() == DType::fp32; }
  std::int64_t sum_bytes() const { return direct() ? 0 : align_up(shape.keys * shape.head_dim * 4, Arena::alignment); }
  Gemm gemm(std::int64_t sample, std::int64_t head, Tensor const& sum) const {
    std::int64_t const group = shape.heads / shape.kv_heads;
    return {.a = matrix_of(shape, a, sample, head),
            .b = queries_of(shape, b, sample, head),
            .out = sum,
            .transpose_a = true,
            .accumulate = head % group != 0,
            .scale = scale};
  }
  void launch_on(Cpu& cpu) const {
    Cpu inner;
    inner.workspace = cpu.workspace.subspan(static_cast<std::size_t>(sum_bytes()));
    for_heads(shape, [&](std::int64_t sample, std::int64_t head, std::int64_t kv_head) {
      Tensor const target = keys_of(shape, out, sample, kv_head);
      Tensor const sum = direct() ? target : Tensor(cpu.workspace.data(), DType::fp32, {shape.keys, shape.head_dim});
      launch(inner, gemm(sample, head, sum));
      bool const last = (head + 1) % (shape.heads / shape.kv_heads) == 0;
      if (last && !direct()) launch(inner, Cast{sum, target});
    });
    cpu.flops += inner.flops;
  }
  std::int64_t workspace_of(std::int64_t budget) const {
    Tensor const sum(nullptr, DType::fp32, {shape.keys, shape.head_dim});
    return sum_bytes() + workspace(gemm(0, 0, direct() ? keys_of(shape, out, 0, 0) : sum), budget - sum_bytes());
  }
};

/// The gradients of one op are four products over the heads.
struct BackwardParts {
  AttentionScores dprobabilities;
  AttentionValues dq;
  SumOverGroup dk, dv;
};
BackwardParts parts_of(MatrixAttentionBackward const& op) {
  Tensor const& dropped = op.dropped.defined() ? op.dropped : op.probabilities;
  AttentionShape unscaled = op.shape;
  unscaled.scale = 1;
  return {{unscaled, op.dout, op.v, op.dscores},
          {op.shape, op.dscores, op.k, op.dq},
          {op.shape, op.dscores, op.q, op.dk, op.shape.scale},
          {op.shape, dropped, op.dout, op.dv, 1}};
}

Cost batched_cost(AttentionShape const& s, DType type, double products, double bytes) {
  double const flops = 2 * static_cast<double>(s.samples * s.heads) * static_cast<double>(s.queries * s.keys) *
                       static_cast<double>(s.head_dim);
  return {.work = Work::gemm,
          .flops = products * flops,
          .bytes = bytes,
          .m = s.queries,
          .n = s.keys,
          .k = s.head_dim,
          .batch = static_cast<std::int64_t>(products) * s.samples * s.heads,
          .dtype = type};
}

}  // namespace

void launch(Cpu& cpu, AttentionScores const& op) {
  for_heads(op.shape,
            [&](auto sample, auto head, auto kv_head) { launch(cpu, scores_gemm(op, sample, head, kv_head)); });
}
std::int64_t workspace(AttentionScores const& op, std::int64_t budget) {
  return workspace(scores_gemm(op, 0, 0, 0), budget);
}
Cost cost(AttentionScores const& op) {
  return batched_cost(op.shape, op.q.dtype(), 1, static_cast<double>(op.q.bytes() + op.k.bytes() + op.scores.bytes()));
}

void launch(Cpu& cpu, AttentionValues const& op) {
  for_heads(op.shape,
            [&](auto sample, auto head, auto kv_head) { launch(cpu, values_gemm(op, sample, head, kv_head)); });
}
std::int64_t workspace(AttentionValues const& op, std::int64_t budget) {
  return workspace(values_gemm(op, 0, 0, 0), budget);
}
Cost cost(AttentionValues const& op) {
  return batched_cost(op.shape, op.v.dtype(), 1,
                      static_cast<double>(op.probabilities.bytes() + op.v.bytes() + op.out.bytes()));
}

void launch(Cpu& cpu, MatrixAttentionBackward const& op) {
  BackwardParts const parts = parts_of(op);
  launch(cpu, parts.dprobabilities);
  parts.dv.launch_on(cpu);
  softmax_backward(op);
  AttentionShape const& s = op.shape;
  for_heads(s, [&](auto sample, auto head, auto kv_head) {
    Gemm dq = values_gemm(parts.dq, sample, head, kv_head);
    dq.scale = s.scale;
    launch(cpu, dq);
  });
  parts.dk.launch_on(cpu);
}
std::int64_t workspace(MatrixAttentionBackward const& op, std::int64_t budget) {
  BackwardParts const parts = parts_of(op);
  return std::max({workspace(parts.dprobabilities, budget), workspace(parts.dq, budget), parts.dk.workspace_of(budget),
                   parts.dv.workspace_of(budget)});
}
Cost cost(MatrixAttentionBackward const& op) {
  std::int64_t const matrices = op.probabilities.bytes() * (op.dropped.defined() ? 3 : 2) + 5 * op.dscores.bytes();
  std::int64_t const rows = 2 * (op.q.bytes() + op.k.bytes() + op.v.bytes()) + op.dout.bytes() * 2;
  return batched_cost(op.shape, op.q.dtype(), 4, static_cast<double>(matrices + rows));
}

}  // namespace selenite
