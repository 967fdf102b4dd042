#include "core/element.hpp"
#include "kernels/dropout/dropout.hpp"

namespace selenite {
namespace {

/// 1/(1-p) where the feature of token t is kept, 0 where it is dropped.
double mask(DropoutSite const& site, TokenPlaces const& tokens, std::int64_t t, std::int64_t feature) {
  if (site.probability == 0) return 1;
  auto const sample = static_cast<std::uint64_t>(tokens.samples.data<std::int64_t>()[t]);
  auto const place = static_cast<std::uint64_t>(tokens.places.data<std::int32_t>()[t]);
  auto const quad = static_cast<std::uint64_t>(feature / 4);
  Words4 const words = philox(
      pack_counter(Purpose::hidden_dropout, site.layer, site.site, sample, hidden_detail(place, quad)), site.seed);
  bool const dropped = words[static_cast<std::size_t>(feature % 4)] < dropout_threshold(site.probability);
  return dropped ? 0 : 1 / (1 - site.probability);
}

}  // namespace

void reference(DropoutAdd const& op) {
  for (std::int64_t t = 0; t < op.y.rows(); ++t) {
    for (std::int64_t i = 0; i < op.y.cols(); ++i) {
      double value = load(op.x, t, i);
      if (op.bias.defined()) value += load(op.bias, i);
      double const factor = mask(op.site, op.tokens, t, op.first_feature + i);
      value = factor == 0 ? 0 : value * factor;
      if (op.residual.defined()) value += load(op.residual, t, i);
      store(op.y, t, i, value);
    }
  }
}

void reference(DropoutBackward const& op) {
  for (std::int64_t t = 0; t < op.dx.rows(); ++t) {
    for (std::int64_t i = 0; i < op.dx.cols(); ++i) {
      double const factor = mask(op.site, op.tokens, t, op.first_feature + i);
      store(op.dx, t, i, factor == 0 ? 0 : load(op.dy, t, i) * factor);
    }
  }
}

void reference(Add const& op) {
  for (std::int64_t t = 0; t < op.y.rows(); ++t)
    for (std::int64_t i = 0; i < op.y.cols(); ++i)
      store(op.y, t, i, op.alpha * load(op.x, t, i) + (op.accumulate ? load(op.y, t, i) : 0));
}

}  // namespace selenite
