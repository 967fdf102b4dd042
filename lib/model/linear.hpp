#pragma once
#include <string>
#include <vector>

#include "core/param.hpp"
#include "exec/ctx.hpp"
#include "model/tensor_parallel.hpp"

namespace selenite {

/// y = x W^T + b with W [out, in]. Several logical matrices (q, k and v; gate and up) may lie side by side in the
/// outputs, so that one GEMM reads them. A column-cut layer holds rows of W (outputs), a row-cut one columns (inputs)
/// on each tensor rank.
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
         TensorParallel const& tensor);

  void list(ParameterList& parameters);
  /// y = x W^T. A column-cut layer takes the rows that this rank holds, gathers the others, and adds its bias; a
  /// row-cut one sums over the tensor ranks and leaves its bias to the caller, who has to add it once.
  void forward(Ctx& ctx, Tensor const& x, Tensor const& y) const;
  /// dx = dy W; dy [all tokens], dx summed over the tensor ranks where the layer is column-cut.
  void backward_input(Ctx& ctx, Tensor const& dy, Tensor const& dx) const;
  /// dW += dy^T x, db += sum of dy; dy [all tokens], x as forward had it (gathered again, not kept).
  void backward_weight(Ctx& ctx, Tensor const& x, Tensor const& dy) const;
  /// Both, of a column-cut layer whose tensor ranks overlap: x is gathered beside the first product, dx summed beside
  /// the second.
  void backward(Ctx& ctx, Tensor const& x, Tensor const& dy, Tensor const& dx) const;

  /// The bias as one tensor [outputs of this rank]; undefined without bias.
  Tensor bias() const { return biases_.empty() ? Tensor{} : joined(biases_, &Parameter::weight); }
  Tensor bias_gradient() const { return biases_.empty() ? Tensor{} : joined(biases_, &Parameter::gradient); }

 private:
  void input_product(Ctx& ctx, Tensor const& dy, Tensor const& dx) const;
  void weight_product(Ctx& ctx, Tensor const& x, Tensor const& dy) const;  ///< x [all tokens]
  /// Neighbouring parameters seen as one tensor.
  static Tensor joined(std::vector<Parameter> const& parts, Tensor Parameter::*member);

  std::vector<Parameter> weights_, biases_;
  CutBy cut_ = CutBy::outputs;
  TensorParallel tensor_;
};

}  // namespace selenite
