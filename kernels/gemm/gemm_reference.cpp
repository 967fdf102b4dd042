#include "core/element.hpp"
#include "kernels/gemm/gemm.hpp"

namespace selenite {

void reference(Gemm const& op) {
  for (std::int64_t i = 0; i < op.m(); ++i) {
    for (std::int64_t j = 0; j < op.n(); ++j) {
      double sum = 0;
      for (std::int64_t p = 0; p < op.k(); ++p)
        sum += (op.transpose_a ? load(op.a, p, i) : load(op.a, i, p)) *
               (op.transpose_b ? load(op.b, j, p) : load(op.b, p, j));
      double const rest = (op.accumulate ? load(op.out, i, j) : 0) + (op.bias.defined() ? load(op.bias, j) : 0);
      store(op.out, i, j, op.scale * sum + rest);
    }
  }
}

Cost cost(Gemm const& op) {
  auto const m = op.m(), n = op.n(), k = op.k();
  double const inputs = static_cast<double>((m * k + k * n) * size_of(op.a.dtype()));
  double const outputs = static_cast<double>(m * n * size_of(op.out.dtype()) * (op.accumulate ? 2 : 1));
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
