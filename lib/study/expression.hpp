#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace selenite {

/// A number worked out from others: "8 * layout.data". Lowest precedence first: `or`, `and`, `not`, one comparison
/// (== != < <= > >=, each 1 or 0), + -, * / %, a sign, parentheses, and min(a, b, ...), max(a, b, ...), floor(x),
/// ceil(x). Names are words of letters, digits, points and underscores; the caller knows their values.
class Expression {
 public:
  /// Throws Error that says what stands where something else was expected.
  explicit Expression(std::string text);

  std::string const& text() const { return text_; }
  /// Every name once, in the order of the text.
  std::vector<std::string> names() const;
  /// Throws Error if it divides by zero, or what `value_of` throws.
  double value(std::function<double(std::string const&)> const& value_of) const;

  /// One operation, after its operands: a list that is worked off with a stack.
  struct Step {
    enum class What : unsigned char { number, name, negate, invert, binary, call };
    What what = What::number;
    double number = 0;
    std::string text;       ///< of a name, an operator or a function
    std::size_t count = 0;  ///< operands of a call
  };

 private:
  std::string text_;
  std::vector<Step> steps_;
};

}  // namespace selenite
