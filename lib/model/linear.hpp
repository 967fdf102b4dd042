#pragma once
#include <string>
#include <vector>

#include "core/param.hpp"
#include "exec/ctx.hpp"
#include "kernels/gemm/gemm.hpp"
#include "model/layer_options.hpp"
#include "model/tensor_parallel.hpp"

namespace selenite {

/// y = x W^T + b with W [out, in]. Several logical matrices (q, k and v; gate and up) may lie side by side in the
/// outputs, so that one GEMM reads them. A column-cut layer holds rows of W (outputs), a row-cut one columns (inputs)
/// on each tensor rank.
///
/// Where the stage has bound an Fp8Matrix, the three products multiply 8-bit operands: x and W rounded to e4m3, dy to
/// e5m2, sums in fp32, y and dx and the bias in bf16, dW and db in fp32. Every operand is laid out with rows along the
/// sum (as sm_90 wants it), so that backward_weight rounds x and dy once more, transposed.
class Linear {
 public:
  struct Part {
    std::string name;
    std::int64_t outputs = 0;
    std::int64_t tensor_parts = 0;  ///< see Cut::parts
  };
  enum class CutBy : std::uint8_t { outputs, inputs };

  Linear() = default;
  Linear(std::vector<Part> const& parts, std::int64_t inputs, bool bias, double init_std, CutBy cut,
         TensorParallel const& tensor, Epilogues epilogues);

  void list(ParameterList& parameters);
  /// y = x W^T. A column-cut layer takes the rows that this rank holds, gathers the others, and adds its bias; a
  /// row-cut one sums over the tensor ranks and leaves its bias to the caller, who has to add it once.
  void forward(Ctx& ctx, Tensor const& x, Tensor const& y) const;
  /// dx = dy W; dy [all tokens], dx summed over the tensor ranks where the layer is column-cut.
  void backward_input(Ctx& ctx, Tensor const& dy, Tensor const& dx) const;
  /// The products make GELU and its backward pass, too.
  bool fuses() const { return epilogues_ != Epilogues::none; }
  /// y = gelu(before), before = x W^T + b, of a column-cut layer that fuses.
  void forward_gelu(Ctx& ctx, Tensor const& x, Tensor const& before, Tensor const& y) const;
  /// dx = gelu'(before) dy W, of a row-cut layer that fuses.
  void backward_input_gelu(Ctx& ctx, Tensor const& dy, Tensor const& before, Tensor const& dx) const;
  /// dW += dy^T x, db += sum of dy; dy [all tokens], x as forward had it (gathered again, not kept).
  void backward_weight(Ctx& ctx, Tensor const& x, Tensor const& dy) const;
  /// Both, of a column-cut layer whose tensor ranks overlap: x is gathered beside the first product, dx summed beside
  /// the second.
  void backward(Ctx& ctx, Tensor const& x, Tensor const& dy, Tensor const& dx) const;

  /// The bias as one tensor [outputs of this rank]; undefined without bias.
  Tensor bias() const { return biases_.empty() ? Tensor{} : joined(biases_, &Parameter::weight); }
  Tensor bias_gradient() const { return biases_.empty() ? Tensor{} : joined(biases_, &Parameter::gradient); }

 private:
  /// Neighbouring parameters seen as one tensor.
  static Tensor joined(std::vector<Parameter> const& parts, Tensor Parameter::*member);
  // the three products; x and dy [all tokens]; `product` has all but its operands
  void multiply(Ctx& ctx, Tensor const& x, Gemm product) const;
  void multiply_back(Ctx& ctx, Tensor const& dy, Gemm product) const;
  void sum_bias_gradient(Ctx& ctx, Tensor const& dy) const {
    if (!biases_.empty()) ctx(SumRows{.x = dy, .out = bias_gradient(), .accumulate = true});
  }
  void multiply_gradient(Ctx& ctx, Tensor const& x, Tensor const& dy) const;

  std::vector<Parameter> weights_, biases_;
  Fp8Matrix fp8_;
  CutBy cut_ = CutBy::outputs;
  Epilogues epilogues_ = Epilogues::none;
  TensorParallel tensor_;
};

}  // namespace selenite
