#pragma once
#include <algorithm>
#include <cstdint>
#include <string_view>

#include "data/unicode.hpp"

namespace selenite {

/// Hand-written matchers of the patterns that nearly all byte-level tokenizers use. Each returns the end of the match
/// that begins at `p` (p < end); every character is matched by some alternative, so matches follow each other without
/// gaps. The text is valid UTF-8.
class Scanner {
 public:
  Scanner() : classes_(unicode_table().classes) {}

  /// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  char const* next_gpt2(char const* p, char const* end) const {
    if (*p == '\'') {
      if (int const length = contraction(p, end)) return p + length;
    }
    char const* const word = *p == ' ' && p + 1 < end ? p + 1 : p;
    Utf8Char const first = decode_utf8(word);
    std::uint8_t const kind = classes_[first.code];
    if ((kind & CharClass::space) == 0) return skip(word + first.bytes, end, all_kinds, kind);
    return spaces(p, end);
  }

  /// The pattern of cl100k, which Llama 3 (max_digits 3) and Qwen 2 (max_digits 1) share:
  /// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,max_digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
  /// \s+(?!\S)|\s+
  char const* next_cl100k(char const* p, char const* end, int max_digits) const {
    if (*p == '\'') {
      if (int const length = contraction_any_case(p, end)) return p + length;
    }
    Utf8Char const first = decode_utf8(p);
    std::uint8_t const kind = classes_[first.code];
    char const* q = p + first.bytes;
    if (kind & CharClass::letter) return skip(q, end, CharClass::letter, CharClass::letter);
    if (kind & CharClass::number) {
      for (int digits = 1; digits < max_digits && q < end; ++digits) {
        Utf8Char const digit = decode_utf8(q);
        if ((classes_[digit.code] & CharClass::number) == 0) break;
        q += digit.bytes;
      }
      return q;
    }
    if (*p != '\r' && *p != '\n' && q < end) {
      Utf8Char const second = decode_utf8(q);
      std::uint8_t const next_kind = classes_[second.code];
      if (next_kind & CharClass::letter) return skip(q + second.bytes, end, CharClass::letter, CharClass::letter);
      if (*p == ' ' && next_kind == 0) return newlines(skip(q + second.bytes, end, all_kinds, 0), end);
    }
    if (kind == 0) return newlines(skip(q, end, all_kinds, 0), end);
    return lines_or_spaces(p, end);
  }

 private:
  static constexpr std::uint8_t all_kinds = CharClass::letter | CharClass::number | CharClass::space;

  /// The end of the run of characters whose class, under `mask`, is `kind`.
  char const* skip(char const* p, char const* end, std::uint8_t mask, std::uint8_t kind) const {
    while (p < end) {
      Utf8Char const c = decode_utf8(p);
      if ((classes_[c.code] & mask) != kind) break;
      p += c.bytes;
    }
    return p;
  }
  static char const* newlines(char const* p, char const* end) {
    while (p < end && (*p == '\r' || *p == '\n')) ++p;
    return p;
  }
  /// \s+(?!\S)|\s+: a run of white space, without its last character if something else follows and one remains.
  char const* spaces(char const* p, char const* end) const {
    char const* last = p;
    char const* q = p;
    while (q < end) {
      Utf8Char const c = decode_utf8(q);
      if ((classes_[c.code] & CharClass::space) == 0) return last == p ? q : last;
      last = q;
      q += c.bytes;
    }
    return end;
  }
  /// \s*[\r\n]+ (up to the last line end of the run), else as spaces().
  char const* lines_or_spaces(char const* p, char const* end) const {
    char const* const run = skip(p, end, CharClass::space, CharClass::space);
    for (char const* q = run; q > p; --q) {
      if (q[-1] == '\n' || q[-1] == '\r') return q;
    }
    return spaces(p, end);
  }
  static int contraction(char const* p, char const* end) {
    if (end - p < 2) return 0;
    switch (p[1]) {
      case 's':
      case 't':
      case 'm':
      case 'd':
        return 2;
      case 'r':
      case 'v':
        return end - p > 2 && p[2] == 'e' ? 3 : 0;
      case 'l':
        return end - p > 2 && p[2] == 'l' ? 3 : 0;
      default:
        return 0;
    }
  }
  static int contraction_any_case(char const* p, char const* end) {
    if (std::string_view(p, static_cast<std::size_t>(std::min<std::ptrdiff_t>(end - p, 3))) == "'\xc5\xbf") {
      return 3;  // U+017F, the long s, folds to s
    }
    char const lower[3] = {'\'', end - p > 1 ? static_cast<char>(p[1] | 0x20) : '\0',
                           end - p > 2 ? static_cast<char>(p[2] | 0x20) : '\0'};
    // Only the letters' own bytes may pass: 'L' | 0x20 is 'l', but so is no other byte of ours that we accept.
    bool const letters = end - p > 1 && is_ascii_letter(p[1]);
    if (!letters) return 0;
    int const length = contraction(lower, lower + std::min<std::ptrdiff_t>(end - p, 3));
    return length == 3 && !is_ascii_letter(p[2]) ? 0 : length;
  }
  static bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

  std::uint8_t const* classes_;
};

}  // namespace selenite
