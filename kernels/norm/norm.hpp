#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// LayerNorm (subtract_mean) or RMSNorm over the last dimension: y = (x - mean) * rstd * weight + bias, statistics in
/// fp32, rstd = 1/sqrt(var + eps), var = mean of squares (about the mean for LayerNorm).
struct Norm {
  Tensor x, y;          ///< [tokens, features], fp32 | bf16 | fp16
  Tensor weight, bias;  ///< [features] of x's dtype; bias undefined: none
  Tensor mean, rstd;    ///< out: fp32 [tokens]; mean undefined for RMSNorm
  bool subtract_mean = true;
  double eps = 1e-5;
};
void reference(Norm const& op);
void launch(Cpu& cpu, Norm const& op);
void launch(Cuda& cuda, Norm const& op);
Cost cost(Norm const& op);
std::int64_t workspace(Norm const& op, std::int64_t budget);
static_assert(Kernel<Norm>);

/// Gradient of Norm: dx = gradient by x (plus `residual`, the gradient that flows around the branch, if given);
/// dweight += sum of dy * xhat over the tokens, dbias += sum of dy, both fp32, summed in a fixed order of token blocks.
struct NormBackward {
  Tensor x, dy, dx;       ///< [tokens, features]; dx may be dy or residual (in place)
  Tensor weight;          ///< [features]
  Tensor mean, rstd;      ///< saved by Norm; mean undefined for RMSNorm
  Tensor residual;        ///< [tokens, features] or undefined
  Tensor dweight, dbias;  ///< fp32 [features], accumulated; dbias undefined: none
  bool subtract_mean = true;
};
void reference(NormBackward const& op);
void launch(Cpu& cpu, NormBackward const& op);
void launch(Cuda& cuda, NormBackward const& op);
Cost cost(NormBackward const& op);
std::int64_t workspace(NormBackward const& op, std::int64_t budget);
/// Partial sums of dweight and dbias, fp32 [2, features] each, that the workspace has room for: enough to keep a GPU
/// busy.
inline std::int64_t partial_sums(NormBackward const& op) {
  std::int64_t const features = op.x.cols() < 1 ? 1 : op.x.cols(), wanted = (std::int64_t{1} << 21) / features;
  std::int64_t const most = wanted < 128 ? 128 : wanted > 512 ? 512 : wanted, by_tokens = (op.x.rows() + 15) / 16;
  return by_tokens < 1 ? 1 : by_tokens < most ? by_tokens : most;
}
static_assert(Kernel<NormBackward>);

}  // namespace selenite
