#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace selenite {

/// Reads the texts at `key` of one JSON object: one string, or the strings of a list. Ill-formed UTF-8 and lone
/// surrogates become U+FFFD, and `repaired` is set. Throws Error with what is wrong, but not where.
class JsonLineReader {
 public:
  explicit JsonLineReader(std::string key) : key_(std::move(key)) {}
  std::vector<std::string> const& read(std::string_view line, bool& repaired);

 private:
  bool parse(std::string_view line, std::string& problem);
  std::string key_;
  std::string fixed_;
  std::vector<std::string> texts_;
};

}  // namespace selenite
