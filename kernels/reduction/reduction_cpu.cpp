#include "core/cpu.hpp"
#include "core/parallel_for.hpp"
#include "core/simd.hpp"
#include "kernels/reduction/reduction.hpp"

namespace selenite {
namespace {

using namespace simd;

constexpr std::int64_t piece = 65536;
std::int64_t pieces(SquaredNorm const& op) { return (op.x.count() + piece - 1) / piece; }

double total(Doubles v) {
  double sum = 0;
  for (int i = 0; i < lanes / 2; ++i) sum += v[i];
  return sum;
}

template <class T>
double sum_of_squares(T const* x, std::int64_t n) {
  Doubles low[4]{}, high[4]{};
  for_lanes4(n, [&](auto i, auto part, auto k) SELENITE_LAMBDA {
    DoublePair const d = to_doubles(load(x + i, part));
    low[k] += d.low * d.low;
    high[k] += d.high * d.high;
  });
  return total(((low[0] + low[1]) + (low[2] + low[3])) + ((high[0] + high[1]) + (high[2] + high[3])));
}
double sum_of_squares(double const* x, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] * x[i];
  return sum;
}

template <class T>
void add_up(SquaredNorm const& op, double* partials) {
  parallel_for(op.x.count(), piece, [&](std::int64_t first, std::int64_t last) {
    partials[first / piece] = sum_of_squares(op.x.data<T>() + first, last - first);
  });
}

}  // namespace

void launch(Cpu& cpu, SquaredNorm const& op) {
  EXPECTS(op.x.contiguous() && static_cast<std::int64_t>(cpu.workspace.size()) >= pieces(op) * 8);
  auto* const partials = reinterpret_cast<double*>(cpu.workspace.data());
  if (op.x.dtype() == DType::fp64) {
    add_up<double>(op, partials);
  } else {
    visit_float(op.x.dtype(), [&]<class T>(T) { add_up<T>(op, partials); });
  }
  double sum = op.accumulate ? *op.out.data<double>() : 0;
  for (std::int64_t i = 0; i < pieces(op); ++i) sum += partials[i];
  *op.out.data<double>() = sum;
}

Cost cost(SquaredNorm const& op) {
  return {.work = Work::stream, .bytes = static_cast<double>(op.x.bytes() + op.out.bytes())};
}
std::int64_t workspace(SquaredNorm const& op, std::int64_t) { return pieces(op) * size_of(DType::fp64); }

}  // namespace selenite
