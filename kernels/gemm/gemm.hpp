#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"

namespace selenite {

/// What becomes of a product, with its bias, on its way to memory.
enum class Epilogue : std::uint8_t {
  none,
  gelu,           ///< `before` = product; out = gelu of it, before or after it is rounded to before's dtype
  gelu_backward,  ///< out = product gelu'(before)
};

/// out = scale op(a) op(b) (+ bias) (+ out if accumulate), row-major matrices with row strides.
/// op(a) is [m, k], op(b) is [k, n], out is [m, n]. a and b have one dtype (fp32, bf16, fp16); out has that dtype or
/// fp32. Or each is e4m3 or e5m2, and stands for its elements times a_scale or b_scale, powers of two; then out is bf16
/// or fp32, and CUDA wants b transposed and a not (sums run along the rows of both), with rows of whole 16 elements.
/// Sums are in fp32. A linear layer with weight W [out, in] is y = x W^T (transpose_b), dx = dy W, dW += dy^T x
/// (transpose_a).
struct Gemm {
  Tensor a, b, out;
  bool transpose_a = false, transpose_b = false;
  Tensor bias;              ///< [n], of a's dtype (bf16 where that has 8 bits); undefined: none
  bool accumulate = false;  ///< add to what out holds
  double scale = 1;         ///< of the product; 1 with a bias
  Tensor a_scale, b_scale;  ///< fp32 [1], with 8-bit operands only, at multiples of 16 bytes

  // What else is made while the product is at hand.
  Epilogue epilogue = Epilogue::none;  ///< gelu as Activation has it; neither accumulates nor scales
  Tensor before;                       ///< with an epilogue: of out's shape and dtype
  /// fp32 [m], with a transposed into an fp32 out: the sums of a over its rows, not added. With a = dy, the bias' part
  /// of the gradient beside the weight's. Not of 8 bits: they would be sums of rounded values, where
  /// SumRows has dy itself.
  Tensor bias_gradient;

  std::int64_t m() const { return out.rows(); }
  std::int64_t n() const { return out.cols(); }
  std::int64_t k() const { return transpose_a ? a.rows() : a.cols(); }
};

void reference(Gemm const& op);
void launch(Cpu& cpu, Gemm const& op);
void launch(Cuda& cuda, Gemm const& op);
Cost cost(Gemm const& op);
std::int64_t workspace(Gemm const& op, std::int64_t budget);
static_assert(Kernel<Gemm>);

/// out[n] (+)= sum of the rows of x [m, n]: the gradient of a bias. Summed in fp32 in a fixed order.
struct SumRows {
  Tensor x, out;  ///< out is fp32 [n]
  bool accumulate = false;
};
void reference(SumRows const& op);
void launch(Cpu& cpu, SumRows const& op);
void launch(Cuda& cuda, SumRows const& op);
Cost cost(SumRows const& op);
std::int64_t workspace(SumRows const& op, std::int64_t budget);
static_assert(Kernel<SumRows>);

}  // namespace selenite
