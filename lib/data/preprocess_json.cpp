#include "data/preprocess_json.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.hpp"
#include "data/unicode.hpp"

namespace selenite {
namespace {

using nlohmann::json;

/// Keeps the strings at one key of the outermost object; the rest of the line is checked and dropped.
class TextExtractor {
 public:
  TextExtractor(std::string const& key, std::vector<std::string>& texts) : key_(key), texts_(texts) {}

  bool null() { return other("null"); }
  bool boolean(bool) { return other("true or false"); }
  bool number_integer(json::number_integer_t) { return other("a number"); }
  bool number_unsigned(json::number_unsigned_t) { return other("a number"); }
  bool number_float(json::number_float_t, std::string const&) { return other("a number"); }
  bool binary(json::binary_t&) { return true; }
  bool string(std::string& value) {
    if (depth_ == 0) return outermost("a string");
    if (wanted_) texts_.push_back(std::move(value));
    if (depth_ == 1) wanted_ = false;
    return true;
  }
  bool start_object(std::size_t) {
    if (wanted_) return other("an object");
    ++depth_;
    return true;
  }
  bool key(std::string& name) {
    if (depth_ != 1) return true;
    wanted_ = name == key_;
    if (wanted_) found_ = true, texts_.clear();  // the last of equal keys counts
    return true;
  }
  bool end_object() {
    --depth_;
    return true;
  }
  bool start_array(std::size_t) {
    if (depth_ == 0) return outermost("a list");
    if (wanted_ && depth_ > 1) return other("a list inside a list");
    ++depth_;
    return true;
  }
  bool end_array() {
    --depth_;
    if (depth_ == 1) wanted_ = false;
    return true;
  }
  bool parse_error(std::size_t, std::string const&, json::exception const& error) {
    problem_ = error.what();
    return false;
  }
  std::string const& problem() const { return problem_; }
  bool found() const { return found_; }

 private:
  bool other(char const* what) {
    if (depth_ == 0) return outermost(what);
    if (wanted_) {
      problem_ = concat("\"", key_, "\" is ", what, ", not a string");
      return false;
    }
    return true;
  }
  bool outermost(char const* what) {
    problem_ = concat("it is ", what, ", not an object");
    return false;
  }
  std::string const& key_;
  std::vector<std::string>& texts_;
  std::string problem_;
  int depth_ = 0;
  bool wanted_ = false;
  bool found_ = false;
};

/// The code unit of a \uXXXX escape at `at`, or -1.
int escape_at(std::string_view line, std::size_t at) {
  if (at + 6 > line.size() || line[at] != '\\' || line[at + 1] != 'u') return -1;
  int unit = -1;
  auto const [end, error] = std::from_chars(line.data() + at + 2, line.data() + at + 6, unit, 16);
  return error == std::errc() && end == line.data() + at + 6 ? unit : -1;
}

/// Copies a line with every escaped surrogate that has no partner replaced. Returns whether there was one.
bool replace_lone_surrogates(std::string_view line, std::string& out) {
  out.clear();
  bool any = false;
  for (std::size_t at = 0; at < line.size();) {
    if (line[at] != '\\') {
      out += line[at++];
      continue;
    }
    int const unit = escape_at(line, at);
    std::size_t length = unit >= 0 ? 6 : std::min<std::size_t>(2, line.size() - at);
    if (unit >= 0xd800 && unit <= 0xdfff) {
      int const partner = escape_at(line, at + 6);
      if (unit < 0xdc00 && partner >= 0xdc00 && partner <= 0xdfff) {
        length = 12;
      } else {
        out += "\\ufffd";
        at += 6;
        any = true;
        continue;
      }
    }
    out += line.substr(at, length);
    at += length;
  }
  return any;
}

}  // namespace

bool JsonLineReader::parse(std::string_view line, std::string& problem) {
  texts_.clear();
  TextExtractor extractor(key_, texts_);
  bool const good = json::sax_parse(line.begin(), line.end(), &extractor);
  problem = extractor.problem();
  if (good && !extractor.found()) problem = concat("there is no \"", key_, "\" in it");
  return good && extractor.found();
}

std::vector<std::string> const& JsonLineReader::read(std::string_view line, bool& repaired) {
  // The parser takes one for the end of the input, and what follows would be lost.
  validate(line.find('\0') == line.npos, "it holds a NUL byte, which JSON does not allow");
  std::string valid;
  if (valid_utf8_prefix(line) != line.size()) {
    repaired = repair_utf8(line, valid) > 0;
    line = valid;
  }
  std::string problem;
  if (parse(line, problem)) return texts_;
  if (replace_lone_surrogates(line, fixed_)) {
    repaired = true;
    if (parse(fixed_, problem)) return texts_;
  }
  throw Error(problem);
}

}  // namespace selenite
