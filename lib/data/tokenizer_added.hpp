#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace selenite {

/// A token that is looked for in the text before BPE, as tokenizer.json describes it.
struct AddedToken {
  std::string content;
  std::int32_t id = -1;
  bool single_word = false;  // only where no word character is beside it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and after it
  bool normalized = false;   // looked for after normalizing
  bool special = false;
};

/// A stretch of text: one added token (id >= 0), or text between two (id -1).
struct Segment {
  std::string_view text;
  std::int32_t id;
};

/// Finds added tokens, leftmost first, the longest of those that begin there.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  /// `spelled[i]` is the text by which tokens[i] is found (its content, normalized or not).
  AddedTokenMatcher(std::vector<AddedToken> tokens, std::vector<std::string> spelled);
  /// Cuts `text` to segments; empty text has none.
  void split(std::string_view text, std::vector<Segment>& out) const;
  bool empty() const { return tokens_.empty(); }

 private:
  AddedToken const* match_at(std::string_view text, std::size_t at, std::size_t& length) const;
  std::vector<AddedToken> tokens_;
  std::unordered_map<std::string_view, std::size_t> by_text_;
  std::vector<std::string> spelled_;
  std::array<std::vector<std::size_t>, 256> lengths_;  // of the tokens that begin with a byte, longest first
  std::array<bool, 256> starts_{};                     // whether there are any
};

}  // namespace selenite
