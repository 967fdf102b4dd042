#pragma once
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace selenite {

/// An error with a message in the suite's grammar: *problem (why it is one). What to do.*
/// The library throws it and never prints or exits; main catches it once.
class Error : public std::runtime_error {
 public:
  explicit Error(std::string const& message) : std::runtime_error(message) {}
};

/// Joins the parts of a message by operator<<.
template <class... Parts>
std::string concat(Parts const&... parts) {
  std::ostringstream text;
  text.precision(9);
  (text << ... << parts);
  return text.str();
}

/// Always on: throws Error with the joined parts if `condition` is false.
template <class... Parts>
void validate(bool condition, Parts const&... parts) {
  if (!condition) [[unlikely]]
    throw Error(concat(parts...));
}

/// The candidate nearest to `name` by edit distance, or "" if none is near enough to be a likely slip of the hand.
template <class Names>
std::string_view nearest_name(std::string_view name, Names const& candidates);
/// Levenshtein distance of two short names.
std::size_t edit_distance(std::string_view a, std::string_view b);

template <class Names>
std::string_view nearest_name(std::string_view name, Names const& candidates) {
  std::string_view best;
  std::size_t best_distance = name.size() / 2 + 2;
  for (std::string_view candidate : candidates) {
    std::size_t const distance = edit_distance(name, candidate);
    if (distance < best_distance) best_distance = distance, best = candidate;
  }
  return best;
}

[[noreturn]] void contract_failed(char const* expression, char const* file, int line);

}  // namespace selenite

/// A contract of the caller, checked in debug builds only.
#ifdef NDEBUG
#define EXPECTS(condition) static_cast<void>(0)
#else
#define EXPECTS(condition) \
  ((condition) ? static_cast<void>(0) : ::selenite::contract_failed(#condition, __FILE__, __LINE__))
#endif
