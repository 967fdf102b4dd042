#include "data/pretokenize.hpp"

#include <array>
#include <utility>

#include "data/pretokenize_scan.hpp"
#include "data/unicode.hpp"

namespace selenite {
namespace {

/// A stretch that a pattern matched, or one between two matches.
struct Match {
  std::size_t begin;
  std::size_t end;
  bool is_match;
};

/// Joins matches to pieces as `behavior` says. Removed drops what matched.
void join(std::vector<Match>& matches, SplitBehavior behavior) {
  std::vector<Match> joined;
  bool previous = false;
  bool const backwards = behavior == SplitBehavior::merged_with_next;
  if (backwards) std::reverse(matches.begin(), matches.end());
  for (Match const& match : matches) {
    bool const extend =
        behavior == SplitBehavior::contiguous
            ? match.is_match == previous
            : behavior != SplitBehavior::isolated && behavior != SplitBehavior::removed && match.is_match && !previous;
    previous = match.is_match;
    if (behavior == SplitBehavior::removed && match.is_match) continue;
    if (extend && !joined.empty()) {
      (backwards ? joined.back().begin : joined.back().end) = backwards ? match.begin : match.end;
    } else {
      joined.push_back(match);
    }
  }
  if (backwards) std::reverse(joined.begin(), joined.end());
  matches = std::move(joined);
}

void add_pieces(Piece const& whole, std::vector<Match>& matches, SplitBehavior behavior, std::vector<Piece>& out) {
  join(matches, behavior);
  for (Match const& match : matches) {
    if (match.begin == match.end) continue;
    bool const first = whole.at_start && match.begin == 0;
    out.push_back({whole.begin + match.begin, whole.begin + match.end, first});
  }
}

/// Cuts by a test of single characters.
template <class Test>
void match_characters(std::string_view text, Test&& test, std::vector<Match>& matches) {
  matches.clear();
  std::size_t last = 0;
  for (std::size_t at = 0; at < text.size();) {
    Utf8Char const c = decode_utf8(text.data() + at);
    if (test(c.code)) {
      if (last < at) matches.push_back({last, at, false});
      last = at + c.bytes;
      matches.push_back({at, last, true});
    }
    at += c.bytes;
  }
  if (last < text.size()) matches.push_back({last, text.size(), false});
}

/// The numbers of Rust's standard library, by which the reference's Digits goes: those of Unicode 17.0.
bool is_numeric(std::uint8_t const* classes, std::uint32_t code) {
  return (classes[code] & CharClass::number) != 0 || (code >= 0x11de0 && code <= 0x11de9) ||
         (code >= 0x16ff4 && code <= 0x16ff6);
}

constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view cl100k_tail = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::array<std::string_view, 2> cl100k_heads = {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)",
                                                          R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|)"};

}  // namespace

bool is_gpt2_pattern(std::string_view pattern) { return pattern == gpt2_pattern; }

int cl100k_digits(std::string_view pattern) {
  for (std::string_view const head : cl100k_heads) {
    if (!pattern.starts_with(head)) continue;
    std::string_view const rest = pattern.substr(head.size());
    if (!rest.ends_with(cl100k_tail)) continue;
    std::string_view const digits = rest.substr(0, rest.size() - cl100k_tail.size());
    if (digits == R"(\p{N}{1,3})") return 3;
    if (digits == R"(\p{N})") return 1;
  }
  return 0;
}

Pretokenizer::Pretokenizer(std::vector<PretokenizeStep> steps) : steps_(std::move(steps)) {
  auto const* first = steps_.empty() ? nullptr : &steps_.front();
  auto const* byte_level = first ? std::get_if<ByteLevelStep>(first) : nullptr;
  if (steps_.size() == 1 && byte_level && byte_level->use_regex && !byte_level->add_prefix_space) fast_ = Fast::gpt2;
  auto const* cl100k = first ? std::get_if<Cl100kStep>(first) : nullptr;
  if (cl100k) max_digits_ = cl100k->max_digits;
  if (cl100k && steps_.size() == 1) fast_ = Fast::cl100k;
  if (cl100k && steps_.size() == 2) {
    auto const* second = std::get_if<ByteLevelStep>(&steps_.back());
    if (second && !second->use_regex && !second->add_prefix_space) fast_ = Fast::cl100k;
  }
}

PieceList const& Pretokenizer::run(std::string_view text, bool at_start) {
  now_.text.assign(text);
  now_.pieces.assign(1, Piece{0, text.size(), at_start});
  for (PretokenizeStep& step : steps_) {
    next_.text.clear();
    next_.pieces.clear();
    std::visit([this](auto& which) { apply(which); }, step);
  }
  return now_;
}

void Pretokenizer::apply(ByteLevelStep& step) {
  Scanner const scanner;
  for (Piece const& piece : now_.pieces) {
    std::size_t begin = next_.text.size();
    std::string_view const text = std::string_view(now_.text).substr(piece.begin, piece.end - piece.begin);
    if (step.add_prefix_space && !text.starts_with(' ')) next_.text += ' ';
    next_.text += text;
    if (!step.use_regex) {
      next_.pieces.push_back({begin, next_.text.size(), piece.at_start});
      continue;
    }
    char const* const base = next_.text.data();
    char const* const end = base + next_.text.size();
    for (char const* p = base + begin; p < end;) {
      char const* const next = scanner.next_gpt2(p, end);
      next_.pieces.push_back({static_cast<std::size_t>(p - base), static_cast<std::size_t>(next - base), false});
      p = next;
    }
  }
  std::swap(now_, next_);
}

void Pretokenizer::apply(SplitStep& step) {
  std::vector<Match> matches;
  for (Piece const& piece : now_.pieces) {
    std::string_view const text = std::string_view(now_.text).substr(piece.begin, piece.end - piece.begin);
    matches.clear();
    step.regex.set_text(text);
    std::size_t last = 0;
    std::size_t begin = 0;
    std::size_t end = 0;
    while (last < text.size() && step.regex.find(last, begin, end)) {
      if (last < begin) matches.push_back({last, begin, step.invert});
      matches.push_back({begin, end, !step.invert});
      last = end;
    }
    if (last < text.size()) matches.push_back({last, text.size(), step.invert});
    add_pieces(piece, matches, step.behavior, next_.pieces);
  }
  std::swap(now_.pieces, next_.pieces);
}

void Pretokenizer::apply(Cl100kStep& step) {
  Scanner const scanner;
  char const* const base = now_.text.data();
  for (Piece const& piece : now_.pieces) {
    char const* const end = base + piece.end;
    for (char const* p = base + piece.begin; p < end;) {
      char const* const next = scanner.next_cl100k(p, end, step.max_digits);
      bool const first = piece.at_start && p == base + piece.begin;
      next_.pieces.push_back({static_cast<std::size_t>(p - base), static_cast<std::size_t>(next - base), first});
      p = next;
    }
  }
  std::swap(now_.pieces, next_.pieces);
}

void Pretokenizer::apply(DigitsStep& step) {
  std::uint8_t const* const classes = unicode_table().classes;
  std::vector<Match> matches;
  for (Piece const& piece : now_.pieces) {
    std::string_view const text = std::string_view(now_.text).substr(piece.begin, piece.end - piece.begin);
    match_characters(
        text, [&](std::uint32_t code) { return is_numeric(classes, code); }, matches);
    add_pieces(piece, matches, step.individual ? SplitBehavior::isolated : SplitBehavior::contiguous, next_.pieces);
  }
  std::swap(now_.pieces, next_.pieces);
}

void Pretokenizer::apply(MetaspaceStep& step) {
  std::vector<Match> matches;
  std::uint32_t const mark = decode_utf8(step.replacement.data()).code;
  for (Piece const& piece : now_.pieces) {
    std::size_t const begin = next_.text.size();
    std::string_view const text = std::string_view(now_.text).substr(piece.begin, piece.end - piece.begin);
    bool const prepend = step.prepend == Prepend::always || (step.prepend == Prepend::first && piece.at_start);
    if (prepend && !text.starts_with(' ') && !text.starts_with(step.replacement)) next_.text += step.replacement;
    for (char const c : text) {
      if (c == ' ') {
        next_.text += step.replacement;
      } else {
        next_.text += c;
      }
    }
    Piece const whole{begin, next_.text.size(), piece.at_start};
    if (!step.split) {
      next_.pieces.push_back(whole);
      continue;
    }
    match_characters(
        std::string_view(next_.text).substr(begin), [&](std::uint32_t code) { return code == mark; }, matches);
    add_pieces(whole, matches, SplitBehavior::merged_with_next, next_.pieces);
  }
  std::swap(now_, next_);
}

}  // namespace selenite
