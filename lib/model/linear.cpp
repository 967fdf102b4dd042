#include "model/linear.hpp"

#include "kernels/quantize/quantize.hpp"

namespace selenite {
namespace {

/// x rounded to 8 bits, in a temporary; what is rounded counts for the scale of the next step.
Tensor rounded(Ctx& ctx, Tensor const& x, DType dtype, Fp8Scale const& by) {
  Tensor const y = ctx.temporary(dtype, x.shape());
  ctx(Quantize{.x = x, .y = y, .scale = by.scale, .amax = by.amax});
  return y;
}
/// The transpose of the same. It has been counted.
Tensor rounded_transpose(Ctx& ctx, Tensor const& x, DType dtype, Fp8Scale const& by) {
  Tensor const y = ctx.temporary(dtype, {x.cols(), x.rows()});
  ctx(Quantize{.x = x, .transposed = y, .scale = by.scale});
  return y;
}

}  // namespace

Linear::Linear(std::vector<Part> const& parts, std::int64_t inputs, bool bias, double init_std, CutBy cut,
               TensorParallel const& tensor, Epilogues epilogues)
    : cut_(cut), epilogues_(epilogues), tensor_(tensor) {
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
  weights_.front().fp8 = &fp8_;
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

void Linear::multiply(Ctx& ctx, Tensor const& x, Gemm product) const {
  ScopedMark const mark(ctx.scratch());
  product.transpose_b = true;
  if (fp8_.defined()) {
    product.a = rounded(ctx, x, DType::e4m3, fp8_.input), product.a_scale = fp8_.input.inverse;
    product.b = fp8_.rounded, product.b_scale = fp8_.weight.inverse;
  } else {
    product.a = x, product.b = joined(weights_, &Parameter::weight);
  }
  ctx(product);
}

void Linear::multiply_back(Ctx& ctx, Tensor const& dy, Gemm product) const {
  ScopedMark const mark(ctx.scratch());
  product.transpose_b = fp8_.defined();
  if (fp8_.defined()) {
    product.a = rounded(ctx, dy, DType::e5m2, fp8_.gradient), product.a_scale = fp8_.gradient.inverse;
    product.b = fp8_.transposed, product.b_scale = fp8_.weight.inverse;
  } else {
    product.a = dy, product.b = joined(weights_, &Parameter::weight);
  }
  ctx(product);
}

void Linear::multiply_gradient(Ctx& ctx, Tensor const& x, Tensor const& dy) const {
  ScopedMark const mark(ctx.scratch());
  Gemm product{.a = dy, .b = x, .out = joined(weights_, &Parameter::gradient), .transpose_a = true, .accumulate = true};
  if (epilogues_ == Epilogues::all && !fp8_.defined() && !biases_.empty()) {
    product.bias_gradient = ctx.temporary(DType::fp32, {1, dy.cols()});
    ctx(product);
    return sum_bias_gradient(ctx, product.bias_gradient);
  }
  sum_bias_gradient(ctx, dy);  // with 8 bits, too, of dy before it is rounded
  if (!fp8_.defined()) return ctx(product);
  ctx(Gemm{.a = rounded_transpose(ctx, dy, DType::e5m2, fp8_.gradient),
           .b = rounded_transpose(ctx, x, DType::e4m3, fp8_.input),
           .out = product.out,
           .transpose_b = true,
           .accumulate = true,
           .a_scale = fp8_.gradient.inverse,
           .b_scale = fp8_.input.inverse});
}

void Linear::forward(Ctx& ctx, Tensor const& x, Tensor const& y) const {
  if (cut_ == CutBy::inputs) return tensor_.reduce(ctx, y, [&](Tensor const& sum) { multiply(ctx, x, {.out = sum}); });
  ScopedMark const mark(ctx.scratch());
  multiply(ctx, tensor_.gathered(ctx, x), {.out = y, .bias = bias()});
}

void Linear::forward_gelu(Ctx& ctx, Tensor const& x, Tensor const& before, Tensor const& y) const {
  EXPECTS(cut_ == CutBy::outputs && fuses());
  ScopedMark const mark(ctx.scratch());
  multiply(ctx, tensor_.gathered(ctx, x), {.out = y, .bias = bias(), .epilogue = Epilogue::gelu, .before = before});
}

void Linear::backward_input_gelu(Ctx& ctx, Tensor const& dy, Tensor const& before, Tensor const& dx) const {
  EXPECTS(cut_ == CutBy::inputs && fuses());
  multiply_back(ctx, dy, {.out = dx, .epilogue = Epilogue::gelu_backward, .before = before});
}

void Linear::backward_input(Ctx& ctx, Tensor const& dy, Tensor const& dx) const {
  if (cut_ == CutBy::inputs) return multiply_back(ctx, dy, {.out = dx});
  tensor_.reduce(ctx, dx, [&](Tensor const& sum) { multiply_back(ctx, dy, {.out = sum}); });
}

void Linear::backward_weight(Ctx& ctx, Tensor const& x, Tensor const& dy) const {
  ScopedMark const mark(ctx.scratch());
  multiply_gradient(ctx, cut_ == CutBy::outputs ? tensor_.gathered(ctx, x) : x, dy);
}

void Linear::backward(Ctx& ctx, Tensor const& x, Tensor const& dy, Tensor const& dx) const {
  EXPECTS(cut_ == CutBy::outputs && tensor_.overlaps());
  ScopedMark const mark(ctx.scratch());
  auto const [input, gathered] = tensor_.start_gathering(ctx, x);
  Tensor const partial = tensor_.sequence() ? ctx.temporary(dx.dtype(), {dy.rows(), dx.cols()}) : dx;
  multiply_back(ctx, dy, {.out = partial});
  Event const summed = tensor_.start_sum(ctx, partial, dx);
  ctx.wait(gathered);
  multiply_gradient(ctx, input, dy);
  ctx.wait(summed);
}

}  // namespace selenite
