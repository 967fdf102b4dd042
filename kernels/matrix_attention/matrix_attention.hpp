#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"
#include "kernels/attention/attention.hpp"

namespace selenite {

/// The attention of the 2021-22 Selene runs: batched GEMMs around a softmax over a stored [samples*heads, queries,
/// keys] matrix. Three operations, so that selective recomputation can drop and redo the core. Dtypes as in Attention.

/// scores = scale * q k^T, one matrix a (sample, head).
struct AttentionScores {
  AttentionShape shape;
  Tensor q, k;
  Tensor scores;  ///< [samples*heads, queries, keys], dtype of q
};
void reference(AttentionScores const& op);
void launch(Cpu& cpu, AttentionScores const& op);
void launch(Cuda& cuda, AttentionScores const& op);
Cost cost(AttentionScores const& op);
std::int64_t workspace(AttentionScores const& op, std::int64_t budget);
static_assert(Kernel<AttentionScores>);

/// probabilities = softmax(scores + mask), in place allowed; dropped = dropout(probabilities) if the shape has dropout.
/// A query that sees no key gets zeros. The masks are those of kernels/attention/mask.hpp.
struct MaskedSoftmax {
  AttentionShape shape;
  Tensor scores, probabilities;  ///< [samples*heads, queries, keys]
  Tensor dropped;                ///< same, or undefined without dropout
  AttentionPlaces query_places, key_places;
  Tensor sample_ids;
};
void reference(MaskedSoftmax const& op);
void launch(Cpu& cpu, MaskedSoftmax const& op);
void launch(Cuda& cuda, MaskedSoftmax const& op);
Cost cost(MaskedSoftmax const& op);
std::int64_t workspace(MaskedSoftmax const& op, std::int64_t budget);
static_assert(Kernel<MaskedSoftmax>);

/// out = p v, one GEMM a (sample, head).
struct AttentionValues {
  AttentionShape shape;
  Tensor probabilities, v, out;
};
void reference(AttentionValues const& op);
void launch(Cpu& cpu, AttentionValues const& op);
void launch(Cuda& cuda, AttentionValues const& op);
Cost cost(AttentionValues const& op);
std::int64_t workspace(AttentionValues const& op, std::int64_t budget);
static_assert(Kernel<AttentionValues>);

/// Gradients of the three: dprobabilities = dout v^T and dv = dropped^T dout; dscores (in place over dprobabilities);
/// dq = scale * dscores k and dk = scale * dscores^T q, summed over the query heads of a kv head. The mask needs no
/// second look: with p = probabilities, d = dropped and e = dout v^T, dscores = d e - p (row sum of d e), and d = p = 0
/// where masked.
struct MatrixAttentionBackward {
  AttentionShape shape;
  Tensor q, k, v, probabilities, dropped, dout;  ///< dropped undefined without dropout
  Tensor dscores;                                ///< scratch of the caller, like probabilities
  Tensor dq, dk, dv;
};
void reference(MatrixAttentionBackward const& op);
void launch(Cpu& cpu, MatrixAttentionBackward const& op);
void launch(Cuda& cuda, MatrixAttentionBackward const& op);
Cost cost(MatrixAttentionBackward const& op);
std::int64_t workspace(MatrixAttentionBackward const& op, std::int64_t budget);
static_assert(Kernel<MatrixAttentionBackward>);

}  // namespace selenite
