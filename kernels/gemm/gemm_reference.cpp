#include "core/element.hpp"
#include "core/error.hpp"
#include "kernels/gemm/gemm_epilogue.hpp"

namespace selenite {

void check_epilogue(Gemm const& op) {
  if (!has_epilogue(op)) return;
  if (op.epilogue != Epilogue::none) {
    validate(op.before.shape() == op.out.shape() && op.before.dtype() == op.out.dtype(),
             "A matrix product with gelu has before ", to_string(op.before.shape()), " ", name(op.before.dtype()),
             " and out ", to_string(op.out.shape()), " ", name(op.out.dtype()), " (they are alike). Correct one.");
    validate(!op.accumulate && op.scale == 1 && !op.bias_gradient.defined(),
             "A matrix product with gelu accumulates, scales or sums a bias' gradient (its result is no sum any more). "
             "Do that in an operation of its own.");
    validate(op.epilogue == Epilogue::gelu || !op.bias.defined(),
             "A matrix product with gelu's slope has a bias (a gradient has none). Leave it out.");
  }
  if (op.bias_gradient.defined()) {
    validate(
        size_of(op.a.dtype()) > 1,
        "A matrix product of 8-bit operands sums a bias' gradient (it would be that of rounded values). Use SumRows "
        "of what they were rounded from.");
    validate(op.transpose_a && size_of(op.out.dtype()) >= 4 && op.bias_gradient.dtype() == op.out.dtype() &&
                 op.bias_gradient.count() == op.m() && !op.bias.defined(),
             "A matrix product with a bias' gradient of ", op.bias_gradient.count(), " ",
             name(op.bias_gradient.dtype()), " (it is fp32 [m] beside dW = dy^T x in fp32). Correct it.");
  }
}

void reference(Gemm const& op) {
  check_epilogue(op);
  if (has_epilogue(op)) return apart(op, [](auto const& part) { reference(part); });
  double const scale = op.scale * (op.a_scale.defined() ? load(op.a_scale, 0) * load(op.b_scale, 0) : 1);
  for (std::int64_t i = 0; i < op.m(); ++i) {
    for (std::int64_t j = 0; j < op.n(); ++j) {
      double sum = 0;
      for (std::int64_t p = 0; p < op.k(); ++p)
        sum += (op.transpose_a ? load(op.a, p, i) : load(op.a, i, p)) *
               (op.transpose_b ? load(op.b, j, p) : load(op.b, p, j));
      double const rest = (op.accumulate ? load(op.out, i, j) : 0) + (op.bias.defined() ? load(op.bias, j) : 0);
      store(op.out, i, j, scale * sum + rest);
    }
  }
}

Cost cost(Gemm const& op) {
  auto const m = op.m(), n = op.n(), k = op.k();
  double const inputs = static_cast<double>(m * k * size_of(op.a.dtype()) + k * n * size_of(op.b.dtype()));
  bool const twice = op.accumulate || op.epilogue != Epilogue::none;  // read, or a second result
  double const outputs = static_cast<double>(m * n * size_of(op.out.dtype()) * (twice ? 2 : 1)) +
                         static_cast<double>(op.bias_gradient.defined() ? op.bias_gradient.bytes() : 0);
  return {.work = Work::gemm,
          .flops = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k),
          .bytes = inputs + outputs + static_cast<double>(op.bias.defined() ? op.bias.bytes() : 0),
          .m = m,
          .n = n,
          .k = k,
          .result_bytes = outputs,
          .dtype = op.a.dtype()};
}

void reference(SumRows const& op) {
  for (std::int64_t j = 0; j < op.x.cols(); ++j) {
    double sum = op.accumulate ? load(op.out, j) : 0;
    for (std::int64_t i = 0; i < op.x.rows(); ++i) sum += load(op.x, i, j);
    store(op.out, j, sum);
  }
}

Cost cost(SumRows const& op) {
  return {.bytes = static_cast<double>(op.x.bytes() + op.out.bytes() * (op.accumulate ? 2 : 1)), .dtype = op.x.dtype()};
}

}  // namespace selenite
