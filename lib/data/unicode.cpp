#include "data/unicode.hpp"

#include <cstring>

namespace selenite {
namespace {

std::uint8_t class_of(Category category) {
  switch (category) {
    case Category::Lu:
    case Category::Ll:
    case Category::Lt:
    case Category::Lm:
    case Category::Lo:
      return CharClass::letter;
    case Category::Nd:
    case Category::Nl:
    case Category::No:
      return CharClass::number;
    case Category::Z:
      return CharClass::space;
    default:
      return 0;
  }
}

/// Length of the well-formed sequence at the front of `text`, or 0; then `bad` is the length of the ill-formed part.
std::size_t sequence_length(std::string_view text, std::size_t& bad) {
  auto const byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char const lead = byte(0);
  bad = 1;
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  std::size_t const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte's range shuts out overlong forms, surrogates and code points above U+10FFFF.
  unsigned char const low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  unsigned char const high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (text.size() < 2 || byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    bad = i;
    if (text.size() <= i || (byte(i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

UnicodeTable::UnicodeTable() {
  std::size_t code = 0;
  for (std::uint32_t const run : unicode_runs()) {
    auto const category = static_cast<Category>(run % 16);
    std::memset(categories + code, static_cast<int>(category), run / 16);
    std::memset(classes + code, class_of(category), run / 16);
    code += run / 16;
  }
  for (std::size_t control = '\t'; control <= '\r'; ++control) classes[control] = CharClass::space;
  classes[0x85] = CharClass::space;
}

UnicodeTable const& unicode_table() {
  static UnicodeTable const table;
  return table;
}

void append_utf8(std::string& text, std::uint32_t code) {
  auto const put = [&](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

std::size_t valid_utf8_prefix(std::string_view text) {
  std::size_t at = 0;
  std::size_t bad = 0;
  while (at < text.size()) {
    std::uint64_t chunk = 0;
    if (at + 8 <= text.size()) {
      std::memcpy(&chunk, text.data() + at, 8);
      if ((chunk & 0x8080808080808080u) == 0) {
        at += 8;
        continue;
      }
    }
    std::size_t const length = sequence_length(text.substr(at), bad);
    if (length == 0) return at;
    at += length;
  }
  return at;
}

std::int64_t repair_utf8(std::string_view text, std::string& out) {
  out.clear();
  std::int64_t replacements = 0;
  while (true) {
    std::size_t const good = valid_utf8_prefix(text);
    out.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) return replacements;
    std::size_t bad = 0;
    sequence_length(text, bad);
    text.remove_prefix(bad);
    out += "\xef\xbf\xbd";
    ++replacements;
  }
}

}  // namespace selenite
