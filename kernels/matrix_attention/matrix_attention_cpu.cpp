#include <algorithm>

#include "core/cpu.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/matrix_attention/products.hpp"
#include "kernels/matrix_attention/softmax_cpu.hpp"

namespace selenite {
namespace {

template <class Body>
void for_heads(AttentionShape const& s, Body&& body) {
  for (std::int64_t sample = 0; sample < s.samples; ++sample)
    for (std::int64_t head = 0; head < s.heads; ++head) body(sample, head);
}

void launch(Cpu& cpu, SumOverGroup const& part) {
  AttentionShape const& s = part.shape;
  Cpu inner;
  inner.workspace = cpu.workspace.subspan(static_cast<std::size_t>(part.sum_bytes()));
  for_heads(s, [&](std::int64_t sample, std::int64_t head) {
    Tensor const target = keys_of(s, part.out, sample, head / group_of(s));
    Tensor const sum = part.direct() ? target : Tensor(cpu.workspace.data(), DType::fp32, {s.keys, s.head_dim});
    launch(inner, part.gemm(sample, head, sum));
    bool const last = (head + 1) % group_of(s) == 0;
    if (last && !part.direct()) launch(inner, Cast{sum, target});
  });
  cpu.flops += inner.flops;
}
std::int64_t workspace(SumOverGroup const& part, std::int64_t budget) {
  AttentionShape const& s = part.shape;
  Tensor const sum(nullptr, DType::fp32, {s.keys, s.head_dim});
  return part.sum_bytes() +
         workspace(part.gemm(0, 0, part.direct() ? keys_of(s, part.out, 0, 0) : sum), budget - part.sum_bytes());
}

/// Products of all heads, each [m, k] x [k, n].
struct Products {
  std::int64_t m, n, k, count = 1;
};
Cost batched_cost(AttentionShape const& s, DType type, Products const& each, std::int64_t read, std::int64_t written) {
  std::int64_t const batch = each.count * s.samples * s.heads;
  return {.work = Work::gemm,
          .flops = 2 * static_cast<double>(batch) * static_cast<double>(each.m * each.n) * static_cast<double>(each.k),
          .bytes = static_cast<double>(read + written),
          .m = each.m,
          .n = each.n,
          .k = each.k,
          .batch = batch,
          .result_bytes = static_cast<double>(written),
          .dtype = type};
}

}  // namespace

void launch(Cpu& cpu, AttentionScores const& op) {
  for_heads(op.shape, [&](auto sample, auto head) { launch(cpu, scores_gemm(op, sample, head)); });
}
std::int64_t workspace(AttentionScores const& op, std::int64_t budget) {
  return workspace(scores_gemm(op, 0, 0), budget);
}
Cost cost(AttentionScores const& op) {
  AttentionShape const& s = op.shape;
  return batched_cost(s, op.q.dtype(), {s.queries, s.keys, s.head_dim}, op.q.bytes() + op.k.bytes(), op.scores.bytes());
}

void launch(Cpu& cpu, AttentionValues const& op) {
  for_heads(op.shape, [&](auto sample, auto head) { launch(cpu, values_gemm(op, sample, head)); });
}
std::int64_t workspace(AttentionValues const& op, std::int64_t budget) {
  return workspace(values_gemm(op, 0, 0), budget);
}
Cost cost(AttentionValues const& op) {
  AttentionShape const& s = op.shape;
  return batched_cost(s, op.v.dtype(), {s.queries, s.head_dim, s.keys}, op.probabilities.bytes() + op.v.bytes(),
                      op.out.bytes());
}

void launch(Cpu& cpu, MatrixAttentionBackward const& op) {
  BackwardParts const parts = parts_of(op);
  launch(cpu, parts.dprobabilities);
  launch(cpu, parts.dv);
  softmax_backward(op);
  for_heads(op.shape,
            [&](auto sample, auto head) { launch(cpu, values_gemm(parts.dq, sample, head, op.shape.scale)); });
  launch(cpu, parts.dk);
}
std::int64_t workspace(MatrixAttentionBackward const& op, std::int64_t budget) {
  BackwardParts const parts = parts_of(op);
  return std::max({workspace(parts.dprobabilities, budget), workspace(parts.dq, budget), workspace(parts.dk, budget),
                   workspace(parts.dv, budget)});
}
Cost cost(MatrixAttentionBackward const& op) {
  // Softmax's backward pass, between the products, hides nothing either: it counts with what is written.
  AttentionShape const& s = op.shape;
  std::int64_t const rows = op.q.bytes() + op.k.bytes() + op.v.bytes(), matrix = op.dscores.bytes();
  std::int64_t const read = op.probabilities.bytes() + 2 * matrix + rows + 2 * op.dout.bytes(),
                     softmax = op.probabilities.bytes() * (op.dropped.defined() ? 2 : 1) + 2 * matrix;
  return batched_cost(s, op.q.dtype(), {s.queries, s.keys, s.head_dim, 4}, read, softmax + matrix + rows);
}

}  // namespace selenite
