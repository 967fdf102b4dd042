#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace selenite {

/// A regular expression over Unicode text, matched by PCRE2. The categories of characters are those of our own table,
/// whatever version of Unicode the library has: before matching, every other non-ASCII character is replaced by one of
/// the same category and length that all versions know. One instance a thread.
class Regex {
 public:
  /// Throws Error naming the construct if the pattern has one whose meaning differs between the regular-expression
  /// libraries (\w, \b, scripts, ...) or that PCRE2 refuses.
  explicit Regex(std::string const& pattern);
  Regex(Regex const& other);
  Regex& operator=(Regex const&) = delete;
  ~Regex();
  /// Starts a search of `text` (valid UTF-8), which must live until the last find().
  void set_text(std::string_view text);
  /// The next match at or after `from`; false if there is none. Throws Error if the match needs too much memory.
  bool find(std::size_t from, std::size_t& begin, std::size_t& end);

 private:
  struct Compiled;
  struct State;
  std::shared_ptr<Compiled const> compiled_;  // shared between copies
  std::unique_ptr<State> state_;
};

/// A piece of a PieceList's text. `at_start` marks the one that begins where the document begins.
struct Piece {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool at_start = false;
};
struct PieceList {
  std::string text;
  std::vector<Piece> pieces;
};

enum class SplitBehavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

// The steps, named as in tokenizer.json. Text stays as it is: the byte-level alphabet is undone when a vocabulary is
// read, so that words are matched as bytes.
struct ByteLevelStep {
  bool add_prefix_space = false;
  bool use_regex = true;
};
struct SplitStep {
  Regex regex;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
};
/// A Split whose pattern is the one of cl100k, found by its text and matched by hand.
struct Cl100kStep {
  int max_digits = 3;
};
struct DigitsStep {
  bool individual = false;
};
enum class Prepend { never, first, always };
struct MetaspaceStep {
  std::string replacement;
  Prepend prepend = Prepend::always;
  bool split = true;
};
using PretokenizeStep = std::variant<ByteLevelStep, SplitStep, Cl100kStep, DigitsStep, MetaspaceStep>;

/// Cuts text into the words that BPE works on. One instance a thread.
class Pretokenizer {
 public:
  /// How words can be scanned without a list of pieces; `general` if they cannot.
  enum class Fast { general, gpt2, cl100k };

  Pretokenizer() = default;
  explicit Pretokenizer(std::vector<PretokenizeStep> steps);
  Fast fast() const { return fast_; }
  int max_digits() const { return max_digits_; }
  /// All steps on one stretch of text. The result lives until the next call.
  PieceList const& run(std::string_view text, bool at_start);

 private:
  void apply(ByteLevelStep& step);
  void apply(SplitStep& step);
  void apply(Cl100kStep& step);
  void apply(DigitsStep& step);
  void apply(MetaspaceStep& step);
  std::vector<PretokenizeStep> steps_;
  Fast fast_ = Fast::general;
  int max_digits_ = 0;
  PieceList now_;
  PieceList next_;
};

/// max_digits if `pattern` is the one of cl100k, Llama 3 or Qwen 2 in one of its spellings; else 0.
int cl100k_digits(std::string_view pattern);
/// Whether `pattern` is GPT-2's.
bool is_gpt2_pattern(std::string_view pattern);

}  // namespace selenite
