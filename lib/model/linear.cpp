#include "model/linear.hpp"

#include "kernels/gemm/gemm.hpp"

namespace selenite {

Linear::Linear(std::vector<Part> const& parts, std::int64_t inputs, bool bias, double init_std, CutBy cut,
               TensorParallel const& tensor)
    : cut_(cut), tensor_(tensor) {
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

void Linear::forward(Ctx& ctx, Tensor const& x, Tensor const& y) const {
  auto product = [&](Tensor const& input, Tensor const& output, Tensor const& bias) {
    ctx(Gemm{.a = input, .b = joined(weights_, &Parameter::weight), .out = output, .transpose_b = true, .bias = bias});
  };
  if (cut_ == CutBy::inputs) return tensor_.reduce(ctx, y, [&](Tensor const& sum) { product(x, sum, {}); });
  ScopedMark const mark(ctx.scratch());
  product(tensor_.gathered(ctx, x), y, bias());
}

void Linear::input_product(Ctx& ctx, Tensor const& dy, Tensor const& dx) const {
  ctx(Gemm{.a = dy, .b = joined(weights_, &Parameter::weight), .out = dx});
}

void Linear::weight_product(Ctx& ctx, Tensor const& x, Tensor const& dy) const {
  ctx(Gemm{.a = dy, .b = x, .out = joined(weights_, &Parameter::gradient), .transpose_a = true, .accumulate = true});
  if (!biases_.empty()) ctx(SumRows{.x = dy, .out = bias_gradient(), .accumulate = true});
}

void Linear::backward_input(Ctx& ctx, Tensor const& dy, Tensor const& dx) const {
  if (cut_ == CutBy::inputs) return input_product(ctx, dy, dx);
  tensor_.reduce(ctx, dx, [&](Tensor const& sum) { input_product(ctx, dy, sum); });
}

void Linear::backward_weight(Ctx& ctx, Tensor const& x, Tensor const& dy) const {
  ScopedMark const mark(ctx.scratch());
  weight_product(ctx, cut_ == CutBy::outputs ? tensor_.gathered(ctx, x) : x, dy);
}

void Linear::backward(Ctx& ctx, Tensor const& x, Tensor const& dy, Tensor const& dx) const {
  EXPECTS(cut_ == CutBy::outputs && tensor_.overlaps());
  ScopedMark const mark(ctx.scratch());
  auto const [input, gathered] = tensor_.start_gathering(ctx, x);
  Tensor const partial = tensor_.sequence() ? ctx.temporary(dx.dtype(), {dy.rows(), dx.cols()}) : dx;
  input_product(ctx, dy, partial);
  Event const summed = tensor_.start_sum(ctx, partial, dx);
  ctx.wait(gathered);
  weight_product(ctx, input, dy);
  ctx.wait(summed);
}

}  // namespace selenite
