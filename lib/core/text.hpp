#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace selenite {

template <class Texts>
std::string join(Texts const& texts, std::string_view separator) {
  std::string all;
  bool first = true;
  for (auto const& t : texts) {
    if (!first) all += separator;
    all += t;
    first = false;
  }
  return all;
}
std::vector<std::string> split(std::string_view text, char separator);
/// Rows of cells as lines of columns, two blanks between them; the first column to the left, the others to the right,
/// those without any text left out below the first row.
std::string aligned(std::vector<std::vector<std::string>> const& rows);
/// Whether a text is well-formed UTF-8: no stray or missing bytes, long forms, surrogates or codes above 10ffff.
bool is_utf8(std::string_view text);
std::string_view trim(std::string_view text);
/// Shortest text that reads back to the same double, with a point or exponent so that TOML takes it as a float.
std::string format_double(double value);
/// The whole text as a number; throws Error naming `what` otherwise.
std::int64_t parse_integer(std::string_view text, std::string const& what);
double parse_double(std::string_view text, std::string const& what);

/// "1.50 GiB"
std::string format_bytes(double bytes);
/// "1.23 M": three digits and a decimal prefix.
std::string format_count(double count);
/// "1:02:03", "2:03", "4.5 s", "12.3 ms" or "45.6 us"
std::string format_duration(double seconds);

}  // namespace selenite
