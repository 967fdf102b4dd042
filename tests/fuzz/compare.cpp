#include "tests/fuzz/compare.hpp"

#include <map>

#include "core/text.hpp"
#include "tests/train/support.hpp"

namespace selenite::test {

Config config_of(Draw const& d, bool laid_out, Settings const& more) {
  Settings settings = d.training;
  for (std::string const& s : d.layout)
    if (laid_out || s.starts_with("train.micro_batch")) settings.push_back(s);
  if (laid_out) settings.push_back(backend());
  if (laid_out && option("graphs", "off") == "on") settings.push_back("run.cuda_graphs=true");
  settings.insert(settings.end(), more.begin(), more.end());
  return resolve(parse_config("", settings, "draw"), laid_out ? d.world : 1);
}

std::string layer_of(std::string const& name) {
  auto const first = name.find('.');
  return name.substr(0, name.starts_with("layers.") ? name.find('.', first + 1) : first);
}

std::string compare_names(Wholes const& one, Wholes const& many) {
  for (auto const& [name, whole] : one) {
    auto const found = many.find(name);
    if (found == many.end()) return name + " is missing";
    for (int n : found->second.written)
      if (n != 1) return concat(name, " has an element written ", n, " times");
  }
  return many.size() == one.size() ? "" : "there are parameters too many";
}

Difference difference_by_layer(Wholes const& one, Wholes const& many) {
  std::map<std::string, double> largest;
  for (auto const& [name, whole] : one)
    for (double g : whole.values) largest[layer_of(name)] = std::max(largest[layer_of(name)], std::abs(g));
  return difference(one, many, [&](std::string const& name) { return std::max(largest[layer_of(name)], 1e-30); });
}

}  // namespace selenite::test
