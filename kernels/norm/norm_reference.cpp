#include <cmath>
#include <vector>

#include "core/element.hpp"
#include "kernels/norm/norm.hpp"

namespace selenite {

void reference(Norm const& op) {
  std::int64_t const tokens = op.x.rows(), features = op.x.cols();
  for (std::int64_t t = 0; t < tokens; ++t) {
    double mean = 0, square = 0;
    if (op.subtract_mean) {
      for (std::int64_t i = 0; i < features; ++i) mean += load(op.x, t, i);
      mean /= static_cast<double>(features);
      store(op.mean, t, mean);
    }
    for (std::int64_t i = 0; i < features; ++i) square += std::pow(load(op.x, t, i) - mean, 2);
    double const rstd = 1.0 / std::sqrt(square / static_cast<double>(features) + op.eps);
    store(op.rstd, t, rstd);
    for (std::int64_t i = 0; i < features; ++i) {
      double const y = (load(op.x, t, i) - mean) * rstd * load(op.weight, i);
      store(op.y, t, i, op.bias.defined() ? y + load(op.bias, i) : y);
    }
  }
}

// With xhat = (x - mean) rstd and g = dy weight:
//   dx = rstd (g - average(g) - xhat average(g xhat)); without the mean (RMSNorm) the middle term is absent.
void reference(NormBackward const& op) {
  std::int64_t const tokens = op.x.rows(), features = op.x.cols();
  double const n = static_cast<double>(features);
  std::vector<double> dweight(static_cast<std::size_t>(features)), dbias(dweight), dx(dweight);
  for (std::int64_t t = 0; t < tokens; ++t) {
    double const mean = op.subtract_mean ? load(op.mean, t) : 0, rstd = load(op.rstd, t);
    double average = 0, average_xhat = 0;
    for (std::int64_t i = 0; i < features; ++i) {
      double const xhat = (load(op.x, t, i) - mean) * rstd, dy = load(op.dy, t, i), g = dy * load(op.weight, i);
      average += g / n, average_xhat += g * xhat / n;
      dweight[static_cast<std::size_t>(i)] += dy * xhat;
      dbias[static_cast<std::size_t>(i)] += dy;
    }
    if (!op.subtract_mean) average = 0;
    for (std::int64_t i = 0; i < features; ++i) {
      double const xhat = (load(op.x, t, i) - mean) * rstd, g = load(op.dy, t, i) * load(op.weight, i);
      dx[static_cast<std::size_t>(i)] = rstd * (g - average - xhat * average_xhat);
      if (op.residual.defined()) dx[static_cast<std::size_t>(i)] += load(op.residual, t, i);
    }
    for (std::int64_t i = 0; i < features; ++i) store(op.dx, t, i, dx[static_cast<std::size_t>(i)]);
  }
  for (std::int64_t i = 0; i < features; ++i) {
    store(op.dweight, i, load(op.dweight, i) + dweight[static_cast<std::size_t>(i)]);
    if (op.dbias.defined()) store(op.dbias, i, load(op.dbias, i) + dbias[static_cast<std::size_t>(i)]);
  }
}

}  // namespace selenite
