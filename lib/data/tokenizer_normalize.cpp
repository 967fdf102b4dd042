#include "data/tokenizer_normalize.hpp"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <utf8proc.h>
#include <utility>

#include "core/error.hpp"
#include "data/unicode.hpp"

namespace selenite {
namespace {

utf8proc_option_t options_of(UnicodeForm form) {
  int const composed = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
  int const decomposed = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
  switch (form) {
    case UnicodeForm::nfc:
      return static_cast<utf8proc_option_t>(composed);
    case UnicodeForm::nfd:
      return static_cast<utf8proc_option_t>(decomposed);
    case UnicodeForm::nfkc:
      return static_cast<utf8proc_option_t>(composed | UTF8PROC_COMPAT);
    case UnicodeForm::nfkd:
      return static_cast<utf8proc_option_t>(decomposed | UTF8PROC_COMPAT);
  }
  return UTF8PROC_STABLE;
}

/// The normalizer of Hugging Face tokenizers knows Unicode 9.0. These are the later characters (up to 15.0) that have a
/// decomposition or a combining class: there they pass unchanged and reorder nothing, so here too.
constexpr std::pair<std::uint32_t, std::uint32_t> unknown_there[] = {
    // clang-format off
    {0x7fd, 0x7fd}, {0x898, 0x89f}, {0x8ca, 0x8d3}, {0x9fe, 0x9fe}, {0xc3c, 0xc3c}, {0xd3b, 0xd3c}, {0xeba, 0xeba},
    {0x1715, 0x1715}, {0x1abf, 0x1ace}, {0x1df6, 0x1dfa}, {0x32ff, 0x32ff}, {0xa7f2, 0xa7f4}, {0xa82c, 0xa82c},
    {0xab69, 0xab69}, {0x10781, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27},
    {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070},
    {0x1133b, 0x1133b}, {0x1145e, 0x1145e}, {0x11839, 0x1183a}, {0x11938, 0x11938}, {0x1193d, 0x1193e},
    {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99},
    {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1},
    {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
    // clang-format on
};

bool is_unknown_there(std::uint32_t code) {
  auto const after = std::upper_bound(std::begin(unknown_there), std::end(unknown_there), code,
                                      [](std::uint32_t c, auto const& range) { return c < range.first; });
  return after != std::begin(unknown_there) && code <= std::prev(after)->second;
}

void append_normalized(std::string_view text, UnicodeForm form, std::string& out) {
  if (text.empty()) return;
  utf8proc_uint8_t* result = nullptr;
  utf8proc_ssize_t const length = utf8proc_map(reinterpret_cast<utf8proc_uint8_t const*>(text.data()),
                                               static_cast<utf8proc_ssize_t>(text.size()), &result, options_of(form));
  std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> const owner(result, &std::free);
  validate(length >= 0, "A text of ", text.size(), " bytes cannot be normalized (", utf8proc_errmsg(length), ").");
  out.append(reinterpret_cast<char const*>(result), static_cast<std::size_t>(length));
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

std::string const& Normalizer::run(std::string_view text) {
  now_.assign(text);
  for (NormalizeStep& step : steps_) {
    std::visit([this](auto& which) { apply(which); }, step);
  }
  return now_;
}

void Normalizer::apply(UnicodeForm form) {
  if (is_ascii(now_)) return;  // unchanged by all four forms
  next_.clear();
  std::string_view const text = now_;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    Utf8Char const c = decode_utf8(text.data() + at);
    if (is_unknown_there(c.code)) {
      append_normalized(text.substr(done, at - done), form, next_);
      next_ += text.substr(at, c.bytes);
      done = at + c.bytes;
    }
    at += c.bytes;
  }
  append_normalized(text.substr(done), form, next_);
  std::swap(now_, next_);
}

void Normalizer::apply(PrependStep const& step) {
  if (!now_.empty()) now_.insert(0, step.text);
}

void Normalizer::apply(ReplaceStep const& step) {
  if (step.pattern.empty()) return;
  next_.clear();
  std::size_t last = 0;
  for (std::size_t at; (at = now_.find(step.pattern, last)) != std::string::npos; last = at + step.pattern.size()) {
    next_.append(now_, last, at - last);
    next_ += step.content;
  }
  next_.append(now_, last);
  std::swap(now_, next_);
}

void Normalizer::apply(ReplaceRegexStep& step) {
  next_.clear();
  step.regex.set_text(now_);
  std::size_t last = 0;
  std::size_t begin = 0;
  std::size_t end = 0;
  while (last < now_.size() && step.regex.find(last, begin, end)) {
    next_.append(now_, last, begin - last);
    next_ += step.content;
    last = end;
  }
  next_.append(now_, last);
  std::swap(now_, next_);
}

void Normalizer::apply(StripStep const& step) {
  auto const space_at = [this](std::size_t at) {
    return (unicode_table().classes[decode_utf8(now_.data() + at).code] & CharClass::space) != 0;
  };
  if (step.right) {
    while (!now_.empty()) {
      std::size_t at = now_.size() - 1;
      while (at > 0 && (static_cast<unsigned char>(now_[at]) & 0xc0) == 0x80) --at;
      if (!space_at(at)) break;
      now_.resize(at);
    }
  }
  std::size_t front = 0;
  while (step.left && front < now_.size() && space_at(front)) front += decode_utf8(now_.data() + front).bytes;
  now_.erase(0, front);
}

}  // namespace selenite
