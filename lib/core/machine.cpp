#include "core/machine.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"
#include "core/text.hpp"
#include "core/toml.hpp"

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

namespace {

/// One list of the scalar figures, for reading and writing.
template <class M, class Visit>
void figures(M& m, Visit&& visit) {
  visit("peak_fp32", m.peak_fp32), visit("peak_bf16", m.peak_bf16), visit("peak_fp16", m.peak_fp16);
  visit("launch_seconds", m.launch_seconds), visit("link_bandwidth", m.link_bandwidth),
      visit("link_latency", m.link_latency);
}
template <class M, class Visit>
void curves(M& m, Visit&& visit) {
  visit("gemm_fp32", m.gemm_fp32), visit("gemm_bf16", m.gemm_bf16), visit("attention_fp32", m.attention_fp32);
  visit("attention_bf16", m.attention_bf16), visit("stream", m.stream);
}

double number(TomlNode const& node, std::string const& where) {
  double value = 0;
  if (auto const* x = node.get_if<double>())
    value = *x;
  else if (auto const* i = node.get_if<std::int64_t>())
    value = static_cast<double>(*i);
  else
    throw Error(concat(where, " takes a number (line ", node.line, "). Correct the machine file."));
  validate(std::isfinite(value) && value >= 0, where, " = ", value, " is not a possible figure (line ", node.line,
           "; it must be 0 or more). Correct the machine file.");
  return value;
}

std::vector<double> numbers(TomlNode const* node, std::string const& where) {
  validate(node && node->array() && !node->array()->empty(), where,
           " is missing or no list of numbers (a rate curve needs sizes and rates). Add it to the machine file.");
  std::vector<double> list;
  for (TomlNode const& item : *node->array()) {
    list.push_back(number(item, where));
    validate(list.back() > 0, where, " holds 0 (sizes and rates are above 0). Correct the machine file.");
  }
  return list;
}

}  // namespace

Machine load_machine(std::string const& path) {
  TomlNode const root = read_toml(path, "machine file");
  Machine m;
  auto text = [&](char const* key, std::string& value) {
    if (TomlNode const* node = root.find(key)) {
      validate(node->get_if<std::string>(), path, ": ", key, " takes a string in quotes. Correct the machine file.");
      value = *node->get_if<std::string>();
    }
  };
  text("name", m.name), text("source", m.source);
  if (TomlNode const* node = root.find("memory_bytes"))
    m.memory_bytes = static_cast<std::int64_t>(number(*node, path + ": memory_bytes"));
  figures(m, [&](char const* key, double& value) {
    TomlNode const* node = root.find(key);
    validate(node, path, ": ", key, " is missing (every figure must be said). Add it to the machine file.");
    value = number(*node, concat(path, ": ", key));
  });
  curves(m, [&](char const* key, RateCurve& curve) {
    TomlNode const* node = root.find(key);
    validate(node && node->table(), path, ": [", key,
             "] is missing (it holds the lists sizes and rates). Add it to the machine file.");
    curve.sizes = numbers(node->find("sizes"), concat(path, ": ", key, ".sizes"));
    curve.rates = numbers(node->find("rates"), concat(path, ": ", key, ".rates"));
    validate(curve.sizes.size() == curve.rates.size() && std::is_sorted(curve.sizes.begin(), curve.sizes.end()), path,
             ": [", key, "] needs as many rates as sizes, sizes rising. Correct the machine file.");
  });
  return m;
}

std::string to_toml(Machine const& m) {
  std::string text =
      concat("name = \"", m.name, "\"\nsource = \"", m.source, "\"\nmemory_bytes = ", m.memory_bytes, "\n");
  figures(m, [&](char const* key, double value) { text += concat(key, " = ", format_double(value), "\n"); });
  curves(m, [&](char const* key, RateCurve const& curve) {
    auto list = [](std::vector<double> const& values) {
      std::vector<std::string> parts;
      for (double v : values) parts.push_back(format_double(v));
      return "[" + join(parts, ", ") + "]";
    };
    text += concat("\n[", key, "]\nsizes = ", list(curve.sizes), "\nrates = ", list(curve.rates), "\n");
  });
  return text;
}

}  // namespace selenite
