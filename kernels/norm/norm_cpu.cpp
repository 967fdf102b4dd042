#include <cmath>

#include "core/cpu.hpp"
#include "core/pieces.hpp"
#include "core/simd.hpp"
#include "kernels/norm/norm.hpp"

namespace selenite {
namespace {

using namespace simd;

/// How many rows ahead a pass asks for what it will read: the processor's own prefetching starts anew in each page.
constexpr std::int64_t forward_ahead = 3, backward_ahead = 1;

struct MeanAndRstd {
  float mean, rstd;
};

/// Of row t; RMSNorm has a mean of 0.
template <class T>
SELENITE_INLINE MeanAndRstd statistics(Norm const& op, std::int64_t t) {
  T const* const x = row<T>(op.x, t);
  std::int64_t const n = op.x.cols();
  float mean = 0;
  if (op.subtract_mean) {
    Floats sums[4]{};
    for_any_order4(n, [&](auto i, auto part, auto k) SELENITE_LAMBDA { sums[k] += load(x + i, part); });
    mean = sum((sums[0] + sums[1]) + (sums[2] + sums[3])) / static_cast<float>(n);
    op.mean.data<float>()[t] = mean;
  }
  Floats squares[4]{};
  for_any_order4(n, [&](auto i, auto part, auto k) SELENITE_LAMBDA {
    Floats const d = keep(load(x + i, part) - mean, 0, part);
    squares[k] += d * d;
  });
  float const variance = sum((squares[0] + squares[1]) + (squares[2] + squares[3])) / static_cast<float>(n);
  auto const rstd = static_cast<float>(1.0 / std::sqrt(static_cast<double>(variance) + op.eps));
  op.rstd.data<float>()[t] = rstd;
  return {mean, rstd};
}

template <class T>
SELENITE_INLINE void normalize(Norm const& op, std::int64_t t, MeanAndRstd m) {
  T const *const x = row<T>(op.x, t), *const far = x + forward_ahead * op.x.row_stride(),
                 *const weight = op.weight.data<T>(), *const bias = op.bias.defined() ? op.bias.data<T>() : nullptr;
  T* const y = row<T>(op.y, t);
  auto const normalized = [&](auto i, auto part) SELENITE_LAMBDA {
    if constexpr (std::is_same_v<decltype(part), First>) prefetch(far + i);
    Floats v = (load(x + i, part) - m.mean) * m.rstd * load(weight + i, part);
    if (bias) v += load(bias + i, part);
    return v;
  };
  if (streamable(y, op.y.bytes()))
    transform<true>(y, op.x.cols(), normalized);
  else
    transform<false>(y, op.x.cols(), normalized);
}

/// Rows [first, last). The next row's statistics are begun before a row is written: its sums then hide behind the work
/// on this one.
template <class T>
void normalize_rows(Norm const& op, std::int64_t first, std::int64_t last) {
  MeanAndRstd next = statistics<T>(op, first);
  for (std::int64_t t = first; t < last; ++t) {
    MeanAndRstd const m = next;
    if (t + 1 < last) next = statistics<T>(op, t + 1);
    normalize<T>(op, t, m);
  }
  stream_fence();
}

/// Blocks of tokens that sum dweight and dbias on their own: from the shapes alone, so that the sums' order is too.
struct Blocks {
  std::int64_t tokens, count;
};
Blocks blocks(NormBackward const& op) {
  std::int64_t const tokens = op.x.rows(), size = std::max<std::int64_t>(16, (tokens + 63) / 64);
  return {size, std::max<std::int64_t>(1, (tokens + size - 1) / size)};
}

/// One row's arguments; the parameters' gradients are of the row's block.
template <class T>
struct Row {
  T const *x, *dy, *weight, *residual;
  T* dx;
  float *dweight, *dbias;
  float mean, rstd;
  std::int64_t ahead[3];  ///< elements from a row of x, dy and residual to the one to fetch meanwhile
};

template <class T>
void backward_row(Row<T> const& r, std::int64_t n, bool subtract_mean, std::int64_t streamed_bytes) {
  Floats sums[4]{}, sums_xhat[4]{};
  for_lanes4(n, [&](auto i, auto part, auto k) SELENITE_LAMBDA {
    Floats const xhat = (load(r.x + i, part) - r.mean) * r.rstd, dy = load(r.dy + i, part),
                 g = dy * load(r.weight + i, part);
    sums[k] += g;
    sums_xhat[k] += g * xhat;
    store(r.dweight + i, load(r.dweight + i, part) + dy * xhat, part);
    if (r.dbias) store(r.dbias + i, load(r.dbias + i, part) + dy, part);
  });
  float const average = subtract_mean ? sum((sums[0] + sums[1]) + (sums[2] + sums[3])) / static_cast<float>(n) : 0;
  float const average_xhat = sum((sums_xhat[0] + sums_xhat[1]) + (sums_xhat[2] + sums_xhat[3])) / static_cast<float>(n);
  auto const gradient = [&](auto i, auto part) SELENITE_LAMBDA {
    if constexpr (std::is_same_v<decltype(part), First>) {
      prefetch(r.x + r.ahead[0] + i), prefetch(r.dy + r.ahead[1] + i);
      if (r.residual) prefetch(r.residual + r.ahead[2] + i);
    }
    Floats const xhat = (load(r.x + i, part) - r.mean) * r.rstd, g = load(r.dy + i, part) * load(r.weight + i, part);
    Floats dx = (g - average - xhat * average_xhat) * r.rstd;
    if (r.residual) dx += load(r.residual + i, part);
    return dx;
  };
  if (streamable(r.dx, streamed_bytes))
    transform<true>(r.dx, n, gradient);
  else
    transform<false>(r.dx, n, gradient);
}

template <class T>
void backward_block(NormBackward const& op, std::int64_t first, std::int64_t last, float* partial) {
  std::int64_t const n = op.x.cols();
  bool const in_place = op.dx.raw() == op.dy.raw() || (op.residual.defined() && op.dx.raw() == op.residual.raw());
  std::fill_n(partial, 2 * n, 0.0f);
  for (std::int64_t t = first; t < last; ++t) {
    Row<T> r{row<T>(op.x, t),
             row<T>(op.dy, t),
             op.weight.data<T>(),
             op.residual.defined() ? row<T>(op.residual, t) : nullptr,
             row<T>(op.dx, t),
             partial,
             op.dbias.defined() ? partial + n : nullptr,
             op.subtract_mean ? op.mean.data<float>()[t] : 0,
             op.rstd.data<float>()[t],
             {backward_ahead * op.x.row_stride(), backward_ahead * op.dy.row_stride(),
              backward_ahead * op.residual.row_stride()}};
    backward_row(r, n, op.subtract_mean, in_place ? 0 : op.dx.bytes());
  }
  stream_fence();
}

/// gradient[c] += the blocks' sums in order.
void add_blocks(float const* partials, std::int64_t count, std::int64_t stride, std::int64_t first, std::int64_t last,
                float* gradient) {
  for_lanes(last - first, [&](auto i, auto part) SELENITE_LAMBDA {
    Floats total{};
    for (std::int64_t b = 0; b < count; ++b) total += load(partials + b * stride + first + i, part);
    store(gradient + first + i, load(gradient + first + i, part) + total, part);
  });
}

}  // namespace

void launch(Cpu&, Norm const& op) {
  std::int64_t const n = op.x.cols();
  visit_float(op.x.dtype(), [&]<class T>(T) {
    parallel_for(op.x.rows(), rows_a_piece(n),
                 [&](std::int64_t first, std::int64_t last) { normalize_rows<T>(op, first, last); });
  });
}

void launch(Cpu& cpu, NormBackward const& op) {
  std::int64_t const n = op.x.cols(), tokens = op.x.rows();
  if (tokens == 0) return;
  Blocks const b = blocks(op);
  EXPECTS(static_cast<std::int64_t>(cpu.workspace.size()) >= 2 * b.count * n * 4);
  auto* const partials = reinterpret_cast<float*>(cpu.workspace.data());
  visit_float(op.x.dtype(), [&]<class T>(T) {
    parallel_for(tokens, b.tokens, [&](std::int64_t first, std::int64_t last) {
      backward_block<T>(op, first, last, partials + first / b.tokens * 2 * n);
    });
  });
  parallel_for(n, 256, [&](std::int64_t first, std::int64_t last) {
    add_blocks(partials, b.count, 2 * n, first, last, op.dweight.data<float>());
    if (op.dbias.defined()) add_blocks(partials + n, b.count, 2 * n, first, last, op.dbias.data<float>());
  });
}

Cost cost(Norm const& op) {
  return {.work = Work::stream,
          .bytes = static_cast<double>(op.x.bytes() + op.y.bytes() + op.weight.bytes() + op.rstd.bytes() +
                                       (op.bias.defined() ? op.bias.bytes() : 0) +
                                       (op.subtract_mean ? op.mean.bytes() : 0))};
}
Cost cost(NormBackward const& op) {
  return {.work = Work::stream,
          .bytes = static_cast<double>(op.x.bytes() + op.dy.bytes() + op.dx.bytes() + op.weight.bytes() +
                                       op.rstd.bytes() + (op.residual.defined() ? op.residual.bytes() : 0) +
                                       (op.subtract_mean ? op.mean.bytes() : 0) + 2 * op.dweight.bytes() +
                                       (op.dbias.defined() ? 2 * op.dbias.bytes() : 0))};
}
std::int64_t workspace(Norm const&, std::int64_t) { return 0; }
std::int64_t workspace(NormBackward const& op, std::int64_t budget) {
  std::int64_t const partials = std::max(blocks(op).count, partial_sums(op));
  std::int64_t const need = 2 * partials * op.x.cols() * size_of(DType::fp32);
  validate(need <= budget, "The backward pass of a norm needs ", need, " bytes of workspace (", partials,
           " partial sums of two gradients of ", op.x.cols(), " features), but the budget is ", budget,
           ". Raise run.workspace.");
  return need;
}

}  // namespace selenite
