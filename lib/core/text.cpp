#include "core/text.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace selenite {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    auto const end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::string aligned(std::vector<std::vector<std::string>> const& rows) {
  std::vector<std::size_t> widths;  // 0: nothing but a heading
  for (std::size_t column = 0; !rows.empty() && column < rows[0].size(); ++column) {
    std::size_t width = 0;
    for (std::size_t r = 1; r < rows.size(); ++r) width = std::max(width, rows[r][column].size());
    widths.push_back(width == 0 ? 0 : std::max(width, rows[0][column].size()));
  }
  std::string text;
  for (auto const& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      if (widths[c] == 0) continue;
      std::string const blanks(widths[c] - row[c].size(), ' ');
      text += "  " + (c == 0 ? row[c] + blanks : blanks + row[c]);
    }
    text += "\n";
  }
  return text;
}

std::string_view trim(std::string_view text) {
  auto const first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

bool is_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
    unsigned const first = byte(0);
    std::size_t const length = first < 0x80   ? 1
                               : first < 0xc2 ? 0
                               : first < 0xe0 ? 2
                               : first < 0xf0 ? 3
                               : first < 0xf5 ? 4
                                              : 0;
    if (length == 0 || at + length > text.size()) return false;
    for (std::size_t i = 1; i < length; ++i)
      if ((byte(i) & 0xc0) != 0x80) return false;
    bool const long_form = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
    bool const no_character = (first == 0xed && byte(1) >= 0xa0) || (first == 0xf4 && byte(1) >= 0x90);
    if (long_form || no_character) return false;
    at += length;
  }
  return true;
}

std::string format_double(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::array<char, 32> buffer;
  auto const end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  std::string text(buffer.data(), end);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::int64_t parse_integer(std::string_view text, std::string const& what) {
  std::int64_t value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  validate(error == std::errc() && end == text.data() + text.size() && !text.empty(), what,
           " takes a whole number (it was given \"", text, "\"). Correct the value.");
  return value;
}

double parse_double(std::string_view text, std::string const& what) {
  double value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  validate(error == std::errc() && end == text.data() + text.size() && !text.empty(), what,
           " takes a number (it was given \"", text, "\"). Correct the value.");
  return value;
}

namespace {
std::string with_prefix(double value, double base, std::array<char const*, 7> const& prefixes, char const* unit) {
  std::size_t i = 0;
  while (std::abs(value) >= base && i + 1 < prefixes.size()) value /= base, ++i;
  std::array<char, 48> buffer;
  int const digits = i == 0 && value == std::floor(value) ? 0
                     : std::abs(value) < 10               ? 2
                     : std::abs(value) < 100              ? 1
                                                          : 0;
  std::snprintf(buffer.data(), buffer.size(), "%.*f %s%s", digits, value, prefixes[i], unit);
  return std::string(trim(buffer.data()));
}
}  // namespace

std::string format_bytes(double bytes) {
  return with_prefix(bytes, 1024, {"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}, "B");
}
std::string format_count(double count) { return with_prefix(count, 1000, {"", "k", "M", "G", "T", "P", "E"}, ""); }

std::string format_duration(double seconds) {
  std::array<char, 48> buffer;
  if (!(seconds < 1e9)) return "?";
  if (seconds <= 0) return "0 s";
  auto const s = static_cast<long>(seconds + 0.5);
  if (seconds < 0.95)
    std::snprintf(buffer.data(), buffer.size(), "%.3g %s", seconds < 1e-3 ? seconds * 1e6 : seconds * 1e3,
                  seconds < 1e-3 ? "us" : "ms");
  else if (seconds < 60)
    std::snprintf(buffer.data(), buffer.size(), seconds < 10 ? "%.1f s" : "%.0f s", seconds);
  else if (s < 3600)
    std::snprintf(buffer.data(), buffer.size(), "%ld:%02ld", s / 60, s % 60);
  else
    std::snprintf(buffer.data(), buffer.size(), "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
  return buffer.data();
}

}  // namespace selenite
