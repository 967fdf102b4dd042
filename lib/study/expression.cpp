#include "study/expression.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <initializer_list>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {
namespace {

using Step = Expression::Step;
using What = Step::What;

constexpr int deepest = 100;  // of parentheses and signs: the reader calls itself

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.'; }

/// Recursive descent, one function a precedence.
class Reader {
 public:
  explicit Reader(std::string const& text) : text_(text) { next(); }

  std::vector<Step> read() {
    disjunction();
    if (!token_.empty()) fail("an operator or the end");
    return std::move(steps_);
  }

 private:
  [[noreturn]] void fail(std::string_view wanted) const {
    throw Error(concat("\"", text_, "\" can't be worked out (", wanted, " was expected ",
                       token_.empty() ? std::string("at its end") : concat("instead of ", token_),
                       "). Write it with numbers, config keys, + - * / % and parentheses."));
  }

  void next() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    std::size_t const first = at_;
    if (at_ == text_.size()) return token_.clear();
    if (is_word(text_[at_])) {
      bool const number = !std::isalpha(static_cast<unsigned char>(text_[at_])) && text_[at_] != '_';
      while (at_ < text_.size() && (is_word(text_[at_]) || (number && is_exponent_sign()))) ++at_;
    } else {
      static constexpr std::array<std::string_view, 4> pairs{"==", "!=", "<=", ">="};
      auto const two = std::string_view(text_).substr(at_, 2);
      at_ += std::find(pairs.begin(), pairs.end(), two) != pairs.end() ? 2 : 1;
    }
    token_ = text_.substr(first, at_ - first);
  }
  bool is_exponent_sign() const {
    bool const sign = text_[at_] == '+' || text_[at_] == '-';
    return sign && (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E');
  }

  bool take(std::string_view token) {
    if (token_ != token) return false;
    next();
    return true;
  }
  void binary(std::string const& op) { steps_.push_back({What::binary, 0, op, 2}); }

  /// Operands of `operand`, joined from the left by any of `operators`.
  void chain(std::initializer_list<std::string_view> operators, void (Reader::*operand)()) {
    (this->*operand)();
    while (std::find(operators.begin(), operators.end(), token_) != operators.end()) {
      std::string const op = token_;
      next();
      (this->*operand)();
      binary(op);
    }
  }

  void disjunction() { chain({"or"}, &Reader::conjunction); }
  void conjunction() { chain({"and"}, &Reader::negation); }
  void negation() {
    bool invert = false;
    while (take("not")) invert = !invert;
    comparison();
    if (invert) steps_.push_back({What::invert, 0, "", 1});
  }
  void comparison() {
    sum();
    for (std::string_view op : {"==", "!=", "<=", ">=", "<", ">"})
      if (take(op)) {
        sum();
        return binary(std::string(op));
      }
  }
  void sum() { chain({"+", "-"}, &Reader::product); }
  void product() { chain({"*", "/", "%"}, &Reader::sign); }
  void sign() {
    bool minus = false;
    while (token_ == "-" || token_ == "+") minus = minus != (token_ == "-"), next();
    atom();
    if (minus) steps_.push_back({What::negate, 0, "", 1});
  }

  void atom() {
    if (++depth_ > deepest) throw Error("An expression is nested too deeply (100 levels are read). Make it simpler.");
    if (take("(")) {
      disjunction();
      if (!take(")")) fail("a closing parenthesis");
    } else if (!token_.empty() && (std::isdigit(static_cast<unsigned char>(token_[0])) || token_[0] == '.')) {
      steps_.push_back({What::number, parse_double(token_, concat("\"", text_, "\"")), "", 0});
      next();
    } else if (!token_.empty() && is_word(token_[0]) && token_ != "or" && token_ != "and" && token_ != "not") {
      std::string const name = token_;
      next();
      if (take("("))
        call(name);
      else
        steps_.push_back({What::name, 0, name, 0});
    } else {
      fail("a number or a config key");
    }
    --depth_;
  }

  void call(std::string const& name) {
    std::size_t count = 0;
    do {
      disjunction();
      ++count;
    } while (take(","));
    if (!take(")")) fail("a closing parenthesis");
    bool const one = name == "floor" || name == "ceil", many = name == "min" || name == "max";
    validate(one || many, "\"", text_, "\" can't be worked out (there is no function ", name,
             "). Use min, max, floor or ceil.");
    validate(many || count == 1, "\"", text_, "\" can't be worked out (", name, " takes one number). Give it one.");
    steps_.push_back({What::call, 0, name, count});
  }

  std::string const& text_;
  std::size_t at_ = 0;
  std::string token_;
  std::vector<Step> steps_;
  int depth_ = 0;
};

double apply(std::string const& op, double a, double b, std::string const& text) {
  bool const divides = op == "/" || op == "%";
  validate(!divides || b != 0, "\"", text, "\" can't be worked out (it divides by zero). Correct it.");
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "/") return a / b;
  if (op == "%") return std::fmod(a, b);
  if (op == "==") return a == b;
  if (op == "!=") return a != b;
  if (op == "<=") return a <= b;
  if (op == ">=") return a >= b;
  if (op == "<") return a < b;
  if (op == ">") return a > b;
  return op == "and" ? a != 0 && b != 0 : a != 0 || b != 0;
}

}  // namespace

Expression::Expression(std::string text) : text_(std::move(text)), steps_(Reader(text_).read()) {}

std::vector<std::string> Expression::names() const {
  std::vector<std::string> all;
  for (Step const& step : steps_)
    if (step.what == What::name && std::find(all.begin(), all.end(), step.text) == all.end()) all.push_back(step.text);
  return all;
}

double Expression::value(std::function<double(std::string const&)> const& value_of) const {
  std::vector<double> stack;
  auto const pop = [&] {
    double const top = stack.back();
    stack.pop_back();
    return top;
  };
  for (Step const& step : steps_) switch (step.what) {
      case What::number:
        stack.push_back(step.number);
        break;
      case What::name:
        stack.push_back(value_of(step.text));
        break;
      case What::negate:
        stack.back() = -stack.back();
        break;
      case What::invert:
        stack.back() = stack.back() == 0;
        break;
      case What::binary: {
        double const b = pop(), a = pop();
        stack.push_back(apply(step.text, a, b, text_));
        break;
      }
      case What::call: {
        double result = pop();
        for (std::size_t i = 1; i < step.count; ++i) {
          double const other = pop();
          result = step.text == "min" ? std::min(result, other) : std::max(result, other);
        }
        stack.push_back(step.text == "floor" ? std::floor(result) : step.text == "ceil" ? std::ceil(result) : result);
        break;
      }
    }
  return stack.back();
}

}  // namespace selenite
