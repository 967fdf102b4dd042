#include "data/tokenizer_normalize.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utf8proc.h>

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
  utf8proc_uint8_t* result = nullptr;
  utf8proc_ssize_t const length = utf8proc_map(reinterpret_cast<utf8proc_uint8_t const*>(now_.data()),
                                               static_cast<utf8proc_ssize_t>(now_.size()), &result, options_of(form));
  std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> const owner(result, &std::free);
  validate(length >= 0, "A text of ", now_.size(), " bytes cannot be normalized (", utf8proc_errmsg(length), ").");
  now_.assign(reinterpret_cast<char const*>(result), static_cast<std::size_t>(length));
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
