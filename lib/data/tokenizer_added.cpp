#include "data/tokenizer_added.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "data/unicode.hpp"

namespace selenite {
namespace {

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

/// Start of the character that ends at `at` > 0.
std::size_t previous(std::string_view text, std::size_t at) {
  do --at;
  while (at > 0 && is_continuation(text[at]));
  return at;
}

bool is_space(std::string_view text, std::size_t at) {
  return (unicode_table().classes[decode_utf8(text.data() + at).code] & CharClass::space) != 0;
}

/// \w as far as categories tell: letters, marks, decimal digits, letter numbers, and the connectors of ASCII and below.
bool is_word(std::string_view text, std::size_t at) {
  std::uint32_t const code = decode_utf8(text.data() + at).code;
  switch (unicode_table().categories[code]) {
    case Category::Lu:
    case Category::Ll:
    case Category::Lt:
    case Category::Lm:
    case Category::Lo:
    case Category::M:
    case Category::Nd:
    case Category::Nl:
      return true;
    case Category::P:
      return code == '_' || code == 0x203f || code == 0x2040 || code == 0x2054 || code == 0xfe33 || code == 0xfe34 ||
             (code >= 0xfe4d && code <= 0xfe4f) || code == 0xff3f;
    case Category::C:
      return code == 0x200c || code == 0x200d;
    case Category::S:
      return (code >= 0x24b6 && code <= 0x24e9) || (code >= 0x1f130 && code <= 0x1f149) ||
             (code >= 0x1f150 && code <= 0x1f169) || (code >= 0x1f170 && code <= 0x1f189);
    default:
      return false;
  }
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens, std::vector<std::string> spelled)
    : tokens_(std::move(tokens)), spelled_(std::move(spelled)) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    if (spelled_[i].empty()) continue;
    by_text_[spelled_[i]] = i;
    auto const first = static_cast<unsigned char>(spelled_[i][0]);
    lengths_[first].push_back(spelled_[i].size());
    starts_[first] = true;
  }
  for (auto& lengths : lengths_) {
    std::sort(lengths.begin(), lengths.end(), std::greater<>());
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  }
}

AddedToken const* AddedTokenMatcher::match_at(std::string_view text, std::size_t at, std::size_t& length) const {
  for (std::size_t const candidate : lengths_[static_cast<unsigned char>(text[at])]) {
    if (candidate > text.size() - at) continue;
    auto const found = by_text_.find(text.substr(at, candidate));
    if (found == by_text_.end()) continue;
    length = candidate;
    return &tokens_[found->second];
  }
  return nullptr;
}

void AddedTokenMatcher::split(std::string_view text, std::vector<Segment>& out) const {
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (!starts_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    std::size_t length = 0;
    AddedToken const* const token = match_at(text, at, length);
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + length;
    at = end;
    if (token->single_word &&
        ((begin > 0 && is_word(text, previous(text, begin))) || (end < text.size() && is_word(text, end)))) {
      continue;
    }
    if (token->lstrip) {
      while (begin > done && is_space(text, previous(text, begin))) begin = previous(text, begin);
    }
    if (token->rstrip) {
      while (end < text.size() && is_space(text, end)) end += decode_utf8(text.data() + end).bytes;
    }
    if (done < begin) out.push_back({text.substr(done, begin - done), -1});
    out.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) out.push_back({text.substr(done), -1});
}

}  // namespace selenite
