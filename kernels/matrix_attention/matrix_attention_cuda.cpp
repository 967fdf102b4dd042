#include <algorithm>
#include <span>

#include "core/cuda.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/gemm/gemm_batch.hpp"
#include "kernels/matrix_attention/products.hpp"
#include "kernels/matrix_attention/softmax_cuda.hpp"

namespace selenite {
namespace {

// One batch: a sample's kv heads, each with the same member of its group of query heads. So the heads of a group, which
// share keys and add to the same gradients, follow each other on the stream.

/// Elements from the member of one group to that of the next.
std::int64_t query_stride(AttentionShape const& s) { return group_of(s) * s.head_dim; }
std::int64_t key_stride(AttentionShape const& s) { return s.head_dim; }
std::int64_t matrix_stride(AttentionShape const& s, Tensor const& x) {
  return group_of(s) * s.queries * x.row_stride();
}

/// body(sample, head of the first group) for every batch.
template <class Body>
void for_batches(AttentionShape const& s, Body&& body) {
  for (std::int64_t sample = 0; sample < s.samples; ++sample)
    for (std::int64_t member = 0; member < group_of(s); ++member) body(sample, member);
}

void launch_values(Cuda& cuda, AttentionValues const& op, double scale) {
  AttentionShape const& s = op.shape;
  GemmBatch const batch{s.kv_heads, matrix_stride(s, op.probabilities), key_stride(s), query_stride(s)};
  for_batches(s, [&](auto sample, auto head) { launch(cuda, values_gemm(op, sample, head, scale), batch); });
}

/// A part of the workspace is in use while this lives.
class Reserved {
 public:
  Reserved(Cuda& cuda, std::int64_t bytes) : cuda_(cuda), whole_(cuda.workspace) {
    EXPECTS(bytes <= static_cast<std::int64_t>(whole_.size()));
    cuda.workspace = whole_.subspan(static_cast<std::size_t>(bytes));
  }
  ~Reserved() { cuda_.workspace = whole_; }
  Reserved(Reserved const&) = delete;
  Reserved& operator=(Reserved const&) = delete;
  std::byte* data() const { return whole_.data(); }

 private:
  Cuda& cuda_;
  std::span<std::byte> whole_;
};

/// The kv heads that are summed at once: all, or as many as have room in half of the workspace (workspace() plans for
/// one; the other half is the library's).
std::int64_t heads_at_once(Cuda const& cuda, SumOverGroup const& part) {
  if (part.direct()) return part.shape.kv_heads;
  auto const half = static_cast<std::int64_t>(cuda.workspace.size() / 2);
  return std::clamp<std::int64_t>(half / part.sum_bytes(), 1, part.shape.kv_heads);
}

void launch(Cuda& cuda, SumOverGroup const& part) {
  AttentionShape const& s = part.shape;
  std::int64_t const most = heads_at_once(cuda, part), group = group_of(s);
  Reserved const scratch(cuda, most * part.sum_bytes());
  for (std::int64_t sample = 0; sample < s.samples; ++sample) {
    for (std::int64_t first = 0; first < s.kv_heads; first += most) {
      std::int64_t const count = std::min(most, s.kv_heads - first), width = count * s.head_dim;
      Tensor const target = part.out.row_range(sample * s.keys, s.keys).columns(first * s.head_dim, width);
      Tensor const sums = part.direct() ? target : Tensor(scratch.data(), DType::fp32, {s.keys, width}, Device::cuda);
      GemmBatch const batch{count, matrix_stride(s, part.a), query_stride(s), key_stride(s)};
      for (std::int64_t head = first * group; head < (first + 1) * group; ++head)
        launch(cuda, part.gemm(sample, head, sums.columns(0, s.head_dim)), batch);
      if (!part.direct()) launch(cuda, Cast{sums, target});
    }
  }
}

}  // namespace

void launch(Cuda& cuda, AttentionScores const& op) {
  AttentionShape const& s = op.shape;
  GemmBatch const batch{s.kv_heads, query_stride(s), key_stride(s), matrix_stride(s, op.scores)};
  for_batches(s, [&](auto sample, auto head) { launch(cuda, scores_gemm(op, sample, head), batch); });
}

void launch(Cuda& cuda, AttentionValues const& op) { launch_values(cuda, op, 1); }

void launch(Cuda& cuda, MatrixAttentionBackward const& op) {
  BackwardParts const parts = parts_of(op);
  launch(cuda, parts.dprobabilities);
  launch(cuda, parts.dv);
  softmax_backward(cuda, op);
  launch_values(cuda, parts.dq, op.shape.scale);
  launch(cuda, parts.dk);
}

}  // namespace selenite
