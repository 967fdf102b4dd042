// TOML text as a plain tree. The one file that includes toml++.
#include "core/toml.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <toml++/toml.h>
#include <utility>

#include "core/error.hpp"

namespace selenite {
namespace {

TomlNode convert(toml::node const& node, std::string const& origin);

TomlNode::Table convert_table(toml::table const& table, std::string const& origin) {
  // toml++ sorts by key: the order of the file is that of the keys' places, or of the first key inside for dotted ones
  std::vector<std::pair<toml::source_position, TomlEntry>> entries;
  for (auto const& [key, node] : table)
    entries.emplace_back(key.source().begin, TomlEntry{std::string(key.str()), convert(node, origin)});
  std::stable_sort(entries.begin(), entries.end(), [](auto const& a, auto const& b) { return a.first < b.first; });
  TomlNode::Table out;
  for (auto& [place, entry] : entries) out.push_back(std::move(entry));
  return out;
}

TomlNode convert(toml::node const& node, std::string const& origin) {
  TomlNode out;
  out.line = node.source().begin.line;
  if (auto const* table = node.as_table()) {
    out.value = convert_table(*table, origin);
  } else if (auto const* array = node.as_array()) {
    TomlNode::Array items;
    for (auto const& item : *array) items.push_back(convert(item, origin));
    out.value = std::move(items);
  } else if (auto const text = node.value_exact<std::string>()) {
    out.value = *text;
  } else if (auto const whole = node.value_exact<std::int64_t>()) {
    out.value = *whole;
  } else if (auto const real = node.value_exact<double>()) {
    out.value = *real;
  } else if (auto const truth = node.value_exact<bool>()) {
    out.value = *truth;
  } else {
    throw Error(
        concat(origin, " line ", out.line, ": dates and times are not used (no setting takes one). Put it in quotes."));
  }
  return out;
}

}  // namespace

TomlNode const* TomlNode::find(std::string_view key) const {
  auto const* entries = table();
  if (!entries) return nullptr;
  for (TomlEntry const& entry : *entries)
    if (entry.key == key) return &entry.node;
  return nullptr;
}

TomlNode parse_toml(std::string const& text, std::string const& origin) {
  try {
    return convert(toml::parse(text, origin), origin);
  } catch (toml::parse_error const& e) {
    throw Error(concat(origin, " line ", e.source().begin.line, " column ", e.source().begin.column,
                       ": this is not TOML (", e.description(), "). Correct the line."));
  }
}

std::string read_text_file(std::string const& file, std::string_view what) {
  std::error_code ignored;
  std::ifstream in(file, std::ios::binary);
  validate(in.good() && !std::filesystem::is_directory(file, ignored), "Can't read the ", what, " ", file,
           " (no such file, or not readable). Check the path.");
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

TomlNode read_toml(std::string const& file, std::string_view what) {
  return parse_toml(read_text_file(file, what), file);
}

}  // namespace selenite
