#pragma once
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "data/pretokenize.hpp"

namespace selenite {

enum class UnicodeForm { nfc, nfd, nfkc, nfkd };
struct PrependStep {
  std::string text;  // before text that is not empty
};
struct ReplaceStep {
  std::string pattern;
  std::string content;
};
struct ReplaceRegexStep {
  Regex regex;
  std::string content;
};
struct StripStep {
  bool left = true;
  bool right = true;
};
using NormalizeStep = std::variant<UnicodeForm, PrependStep, ReplaceStep, ReplaceRegexStep, StripStep>;

/// The normalizers of tokenizer.json, in order. One instance a thread.
class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizeStep> steps) : steps_(std::move(steps)) {}
  bool empty() const { return steps_.empty(); }
  /// The normalized text; lives until the next call.
  std::string const& run(std::string_view text);

 private:
  void apply(UnicodeForm form);
  void apply(PrependStep const& step);
  void apply(ReplaceStep const& step);
  void apply(ReplaceRegexStep& step);
  void apply(StripStep const& step);
  std::vector<NormalizeStep> steps_;
  std::string now_;
  std::string next_;
};

}  // namespace selenite
