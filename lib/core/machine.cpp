#include "core/machine.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {

double RateCurve::at(double size) const {
  EXPECTS(!empty());
  if (size <= sizes.front()) return rates.front();
  if (size >= sizes.back()) return rates.back();
  auto const next = std::upper_bound(sizes.begin(), sizes.end(), size);
  auto const i = static_cast<std::size_t>(next - sizes.begin());
  double const t = std::log(size / sizes[i - 1]) / std::log(sizes[i] / sizes[i - 1]);
  return std::exp((1 - t) * std::log(rates[i - 1]) + t * std::log(rates[i]));
}

}  // namespace selenite
