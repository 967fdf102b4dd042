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
  for_heads(op.shape, [&](auto sample, auto head) { launch(cpu, scores_gemm(op, sample, head)); });
}
std::int64_t workspace(AttentionScores const& op, std::int64_t budget) {
  return workspace(scores_gemm(op, 0, 0), budget);
}
Cost cost(AttentionScores const& op) {
  return batched_cost(op.shape, op.q.dtype(), 1, static_cast<double>(op.q.bytes() + op.k.bytes() + op.scores.bytes()));
}

void launch(Cpu& cpu, AttentionValues const& op) {
  for_heads(op.shape, [&](auto sample, auto head) { launch(cpu, values_gemm(op, sample, head)); });
}
std::int64_t workspace(AttentionValues const& op, std::int64_t budget) {
  return workspace(values_gemm(op, 0, 0), budget);
}
Cost cost(AttentionValues const& op) {
  return batched_cost(op.shape, op.v.dtype(), 1,
                      static_cast<double>(op.probabilities.bytes() + op.v.bytes() + op.out.bytes()));
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
  std::int64_t const matrices = op.probabilities.bytes() * (op.dropped.defined() ? 3 : 2) + 5 * op.dscores.bytes();
  std::int64_t const rows = 2 * (op.q.bytes() + op.k.bytes() + op.v.bytes()) + op.dout.bytes() * 2;
  return batched_cost(op.shape, op.q.dtype(), 4, static_cast<double>(matrices + rows));
}

}  // namespace selenite
