#include <algorithm>
#include <cmath>

#include "core/element.hpp"
#include "kernels/quantize/quantize.hpp"

namespace selenite {
namespace {

void see(Tensor const& amax, double value) {
  if (std::abs(value) > load(amax, 0)) store(amax, 0, std::abs(value));
}

}  // namespace

void reference(Quantize const& op) {
  double const scale = load(op.scale, 0);
  for (std::int64_t r = 0; r < op.x.rows(); ++r)
    for (std::int64_t c = 0; c < op.x.cols(); ++c) {
      double const x = load(op.x, r, c);
      if (op.y.defined()) store(op.y, r, c, x * scale);
      if (op.transposed.defined()) store(op.transposed, c, r, x * scale);
      if (op.amax.defined()) see(op.amax, x);
    }
}

void reference(AbsMax const& op) {
  for (std::int64_t r = 0; r < op.x.rows(); ++r)
    for (std::int64_t c = 0; c < op.x.cols(); ++c) see(op.amax, load(op.x, r, c));
}

void reference(UpdateScales const& op) {
  std::int64_t const steps = op.history.cols();
  for (std::int64_t i = 0; i < op.history.rows(); ++i) {
    if (op.push && std::isfinite(load(op.amax, i))) {
      for (std::int64_t s = steps - 1; s > 0; --s) store(op.history, i, s, load(op.history, i, s - 1));
      store(op.history, i, 0, load(op.amax, i));
    }
    if (op.push) store(op.amax, i, 0);
    double largest = 0;
    for (std::int64_t s = 0; s < steps; ++s) largest = std::max(largest, load(op.history, i, s));
    double const power = std::floor(std::log2(op.largest / largest)) - static_cast<double>(op.margin);
    double const scale = largest == 0 ? op.initial : std::exp2(std::clamp(power, -120.0, 120.0));
    store(op.scale, i, scale), store(op.inverse, i, 0, 1 / scale);
  }
}

Cost cost(Quantize const& op) {
  std::int64_t const passes = (op.y.defined() ? 1 : 0) + (op.transposed.defined() ? 1 : 0);
  return {.bytes = static_cast<double>(op.x.bytes() + passes * op.x.count()), .dtype = op.x.dtype()};
}
Cost cost(AbsMax const& op) { return {.bytes = static_cast<double>(op.x.bytes()), .dtype = op.x.dtype()}; }
Cost cost(UpdateScales const& op) { return {.bytes = static_cast<double>(2 * op.history.bytes())}; }
std::int64_t workspace(Quantize const&, std::int64_t) { return 0; }
std::int64_t workspace(AbsMax const&, std::int64_t) { return 0; }
std::int64_t workspace(UpdateScales const&, std::int64_t) { return 0; }

}  // namespace selenite
