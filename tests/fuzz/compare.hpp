#pragma once
#include <cmath>
#include <string>
#include <vector>

#include "tests/fuzz/draw.hpp"
#include "tests/fuzz/job.hpp"

/// How trainings are held against each other.
namespace selenite::test {

using Settings = std::vector<std::string>;
/// The draw's training as it is laid out, on what --backend names; or on one rank and the CPU.
Config config_of(Draw const& d, bool laid_out, Settings const& more);

/// "layers.3" of "layers.3.attention.q.weight".
std::string layer_of(std::string const& name);

struct Difference {
  double relative = 0;
  std::string where;
  void see(double value, std::string const& place) {
    if (value > relative || std::isnan(value)) relative = value, where = place;
  }
};

/// What is missing, superfluous or written twice; empty if nothing is.
std::string compare_names(Wholes const& one, Wholes const& many);

/// The largest difference of two, by element.
template <class Unit>
Difference difference(Wholes const& a, Wholes const& b, Unit&& unit_of) {
  Difference d;
  for (auto const& [name, whole] : a) {
    double const unit = unit_of(name);
    for (std::size_t i = 0; i < whole.values.size(); ++i)
      d.see(std::abs(whole.values[i] - b.at(name).values[i]) / unit, name);
  }
  return d;
}
/// Relative to the largest element of the layer: some gradients, as that of the keys' bias, are nothing but rounding.
Difference difference_by_layer(Wholes const& one, Wholes const& many);

}  // namespace selenite::test
