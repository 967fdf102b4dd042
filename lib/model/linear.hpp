#pragma once
#include <string>
#include <vector>

#include "core/param.hpp"
#include "exec/ctx.hpp"

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
  Linear(std::vector<Part> const& parts, std::int64_t inputs, bool bias, double init_std, CutBy cut);

  void list(ParameterList& parameters);
  /// y [tokens, outputs of this rank] = x [tokens, inputs of this rank] W^T (+ bias unless left to the caller).
  void forward(Ctx& ctx, Tensor const& x, Tensor const& y, bool with_bias = true) const;
  /// dx = dy W
  void backward_input(Ctx& ctx, Tensor const& dy, Tensor const& dx) const;
  /// dW += dy^T x, db += sum of dy
  void backward_weight(Ctx& ctx, Tensor const& x, Tensor const& dy) const;

  /// The bias as one tensor [outputs of this rank]; undefined without bias.
  Tensor bias() const { return biases_.empty() ? Tensor{} : joined(biases_, &Parameter::weight); }
  Tensor bias_gradient() const { return biases_.empty() ? Tensor{} : joined(biases_, &Parameter::gradient); }

 private:
  /// Neighbouring parameters seen as one tensor.
  static Tensor joined(std::vector<Parameter> const& parts, Tensor Parameter::*member);

  std::vector<Parameter> weights_, biases_;
};

}  // namespace selenite
