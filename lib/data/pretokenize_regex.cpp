#define PCRE2_CODE_UNIT_WIDTH 8
#include <algorithm>
#include <array>
#include <cstring>
#include <pcre2.h>
#include <utility>

#include "core/error.hpp"
#include "data/pretokenize.hpp"
#include "data/unicode.hpp"

namespace selenite {
namespace {

using CodeRange = std::pair<std::uint32_t, std::uint32_t>;

/// Characters that stand for all of their category, by length in UTF-8 (2, 3, 4); old ones, which every version of
/// Unicode knows, and a second choice for patterns that name the first. 0: no character of that length.
constexpr std::array<std::array<std::array<std::uint32_t, 3>, 2>, 13> stand_ins = {{
    {{{0xad, 0x200b, 0xe0001}, {0x80, 0x200c, 0xe0020}}},    // C
    {{{0xc0, 0x1e00, 0x10400}, {0x410, 0x10a0, 0x1d400}}},   // Lu
    {{{0xe0, 0x1e01, 0x10428}, {0x430, 0x1e03, 0x1d41a}}},   // Ll
    {{{0x1c5, 0x1f88, 0}, {0x1c8, 0x1f98, 0}}},              // Lt
    {{{0x2b0, 0x3005, 0x16b40}, {0x2b1, 0x3031, 0x16b41}}},  // Lm
    {{{0x5d0, 0x4e00, 0x20000}, {0x627, 0x1100, 0x10300}}},  // Lo
    {{{0x300, 0x20d0, 0x1d165}, {0x301, 0x302a, 0x1d166}}},  // M
    {{{0x660, 0x966, 0x1d7ce}, {0x661, 0x9e6, 0x1d7cf}}},    // Nd
    {{{0, 0x2160, 0x10140}, {0, 0x3021, 0x10141}}},          // Nl
    {{{0xb2, 0x2070, 0x10107}, {0xb3, 0x2080, 0x10108}}},    // No
    {{{0xa1, 0x2010, 0x10100}, {0xb7, 0x3001, 0x10101}}},    // P
    {{{0xa2, 0x20a0, 0x1d000}, {0xa3, 0x2190, 0x1d001}}},    // S
    {{{0, 0, 0}, {0, 0, 0}}},                                // Z: white space, always kept as it is
}};

[[noreturn]] void refuse(std::string const& pattern, std::string_view construct) {
  throw Error(concat("The regular expression '", pattern, "' cannot be used (", construct,
                     " is not supported: its meaning differs between libraries). Rewrite it with \\s, \\d and the",
                     " categories \\p{L}, \\p{N}, \\p{P}, \\p{S}, \\p{M}, \\p{Z}, \\p{C}."));
}

std::size_t check_property(std::string const& pattern, std::size_t at) {
  static constexpr std::array<std::string_view, 16> known = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M", "N",
                                                             "Nd", "Nl", "No", "P",  "S",  "Z",  "C", "L&"};
  std::size_t const close = at < pattern.size() && pattern[at] == '{' ? pattern.find('}', at) : std::string::npos;
  if (close == std::string::npos) refuse(pattern, "\\p without braces");
  std::string const name = pattern.substr(at + 1, close - at - 1);
  if (std::find(known.begin(), known.end(), name) == known.end()) refuse(pattern, "\\p{" + name + "}");
  return close + 1;
}

/// Refuses what the reference library reads otherwise than PCRE2, and lists the non-ASCII characters and ranges of the
/// pattern, which must keep their identity when text is matched.
std::vector<CodeRange> check_pattern(std::string const& pattern) {
  // The long s and the Kelvin sign fold to s and k where the pattern ignores case.
  std::vector<CodeRange> kept = {{0x17f, 0x17f}, {0x212a, 0x212a}};
  bool in_class = false;
  std::uint32_t previous = 0;
  bool range = false;
  for (std::size_t at = 0; at < pattern.size();) {
    Utf8Char const c = decode_utf8(pattern.data() + at);
    char const* const here = pattern.data() + at;
    std::string_view const rest(here, pattern.size() - at);
    at += c.bytes;
    if (c.code == '\\') {
      if (at == pattern.size()) refuse(pattern, "a lone backslash");
      char const escaped = pattern[at++];
      if (escaped == 'p' || escaped == 'P') {
        at = check_property(pattern, at);
      } else if (std::string_view("sSdDrnt").find(escaped) == std::string_view::npos &&
                 (std::isalnum(static_cast<unsigned char>(escaped)) || static_cast<unsigned char>(escaped) >= 0x80)) {
        refuse(pattern, std::string("\\") + escaped);
      }
      previous = 0, range = false;
      continue;
    }
    if (in_class && rest.starts_with("&&")) refuse(pattern, "&& in a class");
    if (in_class && c.code == '[') refuse(pattern, "a class inside a class");
    if (!in_class && rest.starts_with("(?") && !rest.starts_with("(?:") && !rest.starts_with("(?i:") &&
        !rest.starts_with("(?!") && !rest.starts_with("(?=") && !rest.starts_with("(?<!") &&
        !rest.starts_with("(?<=")) {
      refuse(pattern, rest.substr(0, 3));
    }
    if (!in_class && rest.starts_with("}+")) refuse(pattern, "{n,m}+");
    if (!in_class && (c.code == '.' || c.code == '^' || c.code == '$')) refuse(pattern, rest.substr(0, 1));
    if (!in_class && c.code == '[') {
      in_class = true;
      if (at < pattern.size() && pattern[at] == '^') ++at;
      if (at < pattern.size() && pattern[at] == ']') ++at;
      previous = 0, range = false;
    } else if (in_class && c.code == ']') {
      in_class = false;
    } else if (in_class && c.code == '-' && previous != 0) {
      range = true;
    } else {
      if (range && c.code >= 0x80) {
        kept.emplace_back(previous, c.code);
      } else if (c.code >= 0x80) {
        kept.emplace_back(c.code, c.code);
      }
      previous = in_class && !range ? c.code : 0;
      range = false;
    }
  }
  return kept;
}

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<char const*>(text.data());
}

}  // namespace

struct Regex::Compiled {
  std::string pattern;
  std::vector<CodeRange> kept;
  std::array<std::array<std::uint32_t, 3>, 13> stand_in{};  // of each category, by length in UTF-8
  pcre2_code* code = nullptr;
  bool keeps(std::uint32_t character) const {
    return std::any_of(kept.begin(), kept.end(),
                       [&](CodeRange const& range) { return range.first <= character && character <= range.second; });
  }
  void choose_stand_ins() {
    for (std::size_t category = 0; category < stand_in.size(); ++category) {
      for (std::size_t bytes = 0; bytes < 3; ++bytes) {
        auto const& choices = stand_ins[category];
        stand_in[category][bytes] =
            choices[0][bytes] && keeps(choices[0][bytes]) ? choices[1][bytes] : choices[0][bytes];
        if (stand_in[category][bytes] && keeps(stand_in[category][bytes])) refuse(pattern, "such a wide range");
      }
    }
  }
  ~Compiled() { pcre2_code_free(code); }
};

struct Regex::State {
  std::string text;  // as it is matched: other characters, the same bytes
  pcre2_match_data* match = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
  State() = default;
  State(State const&) = delete;
  State& operator=(State const&) = delete;
  ~State() {
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

Regex::Regex(std::string const& pattern) {
  validate(valid_utf8_prefix(pattern) == pattern.size(), "The regular expression is not valid UTF-8.");
  auto compiled = std::make_shared<Compiled>();
  compiled->pattern = pattern;
  compiled->kept = check_pattern(pattern);
  compiled->choose_stand_ins();
  int error = 0;
  PCRE2_SIZE where = 0;
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP,
                                 &error, &where, nullptr);
  validate(compiled->code != nullptr, "The regular expression '", pattern, "' cannot be used (", message_of(error),
           " at byte ", where, "). Correct it.");
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // where there is no JIT, pcre2_match interprets
  compiled_ = std::move(compiled);
  state_ = std::make_unique<State>();
  state_->match = pcre2_match_data_create_from_pattern(compiled_->code, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  // A long run under a pattern that backtracks needs more than the 32 KiB of machine stack that JIT takes by itself.
  state_->stack = pcre2_jit_stack_create(32 * 1024, 64 * 1024 * 1024, nullptr);
  pcre2_jit_stack_assign(state_->context, nullptr, state_->stack);
}

Regex::Regex(Regex const& other) : Regex(other.compiled_->pattern) {}
Regex::~Regex() = default;

void Regex::set_text(std::string_view text) {
  UnicodeTable const& table = unicode_table();
  std::string& mapped = state_->text;
  mapped.assign(text);
  for (std::size_t at = 0; at < mapped.size();) {
    if (static_cast<unsigned char>(mapped[at]) < 0x80) {
      ++at;
      continue;
    }
    Utf8Char const c = decode_utf8(mapped.data() + at);
    std::uint32_t const stand_in = compiled_->stand_in[static_cast<std::size_t>(table.categories[c.code])][c.bytes - 2];
    bool const keep = (table.classes[c.code] & CharClass::space) != 0 || stand_in == 0;
    if (!keep && !compiled_->keeps(c.code)) {
      std::string encoded;
      append_utf8(encoded, stand_in);
      std::memcpy(mapped.data() + at, encoded.data(), c.bytes);
    }
    at += c.bytes;
  }
}

bool Regex::find(std::size_t from, std::size_t& begin, std::size_t& end) {
  std::string const& text = state_->text;
  while (from <= text.size()) {
    int const result = pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                   PCRE2_NO_UTF_CHECK, state_->match, state_->context);
    if (result == PCRE2_ERROR_NOMATCH) return false;
    validate(result >= 0, "The regular expression '", compiled_->pattern, "' failed on a text (", message_of(result),
             "). Split very long lines.");
    PCRE2_SIZE const* const bounds = pcre2_get_ovector_pointer(state_->match);
    begin = bounds[0], end = bounds[1];
    if (end > begin) return true;
    if (begin >= text.size()) return false;
    from = begin + decode_utf8(text.data() + begin).bytes;  // an empty match splits nothing
  }
  return false;
}

}  // namespace selenite
