#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace selenite {

struct TomlEntry;

/// A value of a TOML document, with the line it stands on. Tables keep the order of the file.
struct TomlNode {
  using Array = std::vector<TomlNode>;
  using Table = std::vector<TomlEntry>;
  std::variant<bool, std::int64_t, double, std::string, Array, Table> value;
  std::int64_t line = 0;

  template <class T>
  T const* get_if() const {
    return std::get_if<T>(&value);
  }
  Array const* array() const { return get_if<Array>(); }
  Table const* table() const { return get_if<Table>(); }
  /// The member of a table, or null if this is no table or has no such key.
  TomlNode const* find(std::string_view key) const;
};

struct TomlEntry {
  std::string key;
  TomlNode node;
};

/// The root table of a TOML text. Throws Error with line and column, and `origin` as the name of the text.
TomlNode parse_toml(std::string const& text, std::string const& origin);
/// The same from a file; `what` names the kind of file in the error ("config", "study").
TomlNode read_toml(std::string const& file, std::string_view what);
/// The whole text of a file. Throws Error that names it as a `what`.
std::string read_text_file(std::string const& file, std::string_view what);

}  // namespace selenite
