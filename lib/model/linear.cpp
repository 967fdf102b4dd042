#include "model/linear.hpp"

#include "kernels/gemm/gemm.hpp"

namespace selenite {

Linear::Linear(std::vector<Part> const& parts, std::int64_t inputs, bool bias, double init_std, CutBy cut) {
  for (Part const& part : parts) {
    Param weight{.name = part.name + ".weight",
                 .shape = {part.outputs, inputs},
                 .init = {Init::Rule::normal, init_std},
                 .decay = true};
    weight.cuts = {{cut == CutBy::outputs ? 0 : 1, Axis::tensor, part.tensor_parts}};
    weight.beside_previous = !weights_.empty();
    weights_.push_back({weight, {}, {}});
    if (!bias) continue;
    Param b{.name = part.name + ".bias", .shape = {part.outputs}};
    if (cut == CutBy::outputs) b.cuts = {{0, Axis::tensor, part.tensor_parts}};
    b.beside_previous = !biases_.empty();
    biases_.push_back({b, {}, {}});
  }
}

void Linear::list(ParameterList& parameters) {
  for (Parameter& p : weights_) parameters.push_back(&p);
  for (Parameter& p : biases_) parameters.push_back(&p);
}

Tensor Linear::joined(std::vector<Parameter> const& parts, Tensor Parameter::*member) {
  Tensor const& first = parts.front().*member;
  std::int64_t rows = 0;
  for (Parameter const& p : parts) {
    EXPECTS(!first.raw() || (p.*member).raw() == first.raw() + rows * (first.shape().rank() == 2 ? first.cols() : 1) *
                                                                   size_of(first.dtype()));
    rows += (p.*member).shape()[0];
  }
  Shape const shape = first.shape().rank() == 2 ? Shape{rows, first.cols()} : Shape{rows};
  return Tensor(first.raw(), first.dtype(), shape, first.device());
}

void Linear::forward(Ctx& ctx, Tensor const& x, Tensor const& y, bool with_bias) const {
  ctx(Gemm{.a = x,
           .b = joined(weights_, &Parameter::weight),
           .out = y,
           .transpose_b = true,
           .bias = with_bias ? bias() : Tensor{}});
}

void Linear::backward_input(Ctx& ctx, Tensor const& dy, Tensor const& dx) const {
  ctx(Gemm{.a = dy, .b = joined(weights_, &Parameter::weight), .out = dx});
}

void Linear::backward_weight(Ctx& ctx, Tensor const& x, Tensor const& dy) const {
  ctx(Gemm{.a = dy, .b = x, .out = joined(weights_, &Parameter::gradient), .transpose_a = true, .accumulate = true});
  if (!biases_.empty()) ctx(SumRows{.x = dy, .out = bias_gradient(), .accumulate = true});
}

}  // namespace selenite
