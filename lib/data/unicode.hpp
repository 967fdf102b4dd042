#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace selenite {

/// General categories of Unicode 16.0, as far as tokenizers tell them apart (M, P, S, Z and C stand for their
/// families).
enum class Category : std::uint8_t { C, Lu, Ll, Lt, Lm, Lo, M, Nd, Nl, No, P, S, Z };

/// What the pre-tokenizer patterns ask of a code point, as bits.
struct CharClass {
  static constexpr std::uint8_t letter = 1;  // \p{L}
  static constexpr std::uint8_t number = 2;  // \p{N}
  static constexpr std::uint8_t space = 4;   // \s: White_Space
};

/// One entry a code point; built once, then read only. The version of Unicode is that of the peers' patterns: newer
/// code points count as unassigned there too.
struct UnicodeTable {
  UnicodeTable();
  std::uint8_t classes[0x110000];
  Category categories[0x110000];
};
UnicodeTable const& unicode_table();
/// Runs of code points from 0 on, each length * 16 + Category.
std::span<std::uint32_t const> unicode_runs();

/// A decoded character and the bytes that it takes.
struct Utf8Char {
  std::uint32_t code;
  std::uint32_t bytes;
};
/// The character at `p`, which must begin a valid UTF-8 sequence.
inline Utf8Char decode_utf8(char const* p) {
  auto const byte = [p](int i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(p[i])); };
  std::uint32_t const lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xe0) return {(lead & 0x1f) << 6 | (byte(1) & 0x3f), 2};
  if (lead < 0xf0) return {(lead & 0x0f) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f), 4};
}
void append_utf8(std::string& text, std::uint32_t code);

/// Bytes at the front of `text` that are well-formed UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF).
std::size_t valid_utf8_prefix(std::string_view text);
/// Copies `text` to `out`, each ill-formed part replaced by one U+FFFD (the longest prefix of a sequence counts as one
/// part: the rule of the Unicode standard and of Python's errors="replace"). Returns the number of replacements.
std::int64_t repair_utf8(std::string_view text, std::string& out);

}  // namespace selenite
