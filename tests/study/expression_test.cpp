#include "study/expression.hpp"

#include <boost/test/unit_test.hpp>
#include <map>
#include <random>

#include "stand_in.hpp"

using namespace selenite;
using namespace study_test;

namespace {
double value(std::string const& text) {
  std::map<std::string, double> const known{{"ranks", 64}, {"layout.data", 6}, {"a_b.c1", 0.5}};
  return Expression(text).value([&](std::string const& name) { return known.at(name); });
}
std::string refusal(std::string const& text) {
  return message_of([&] { value(text); });
}
}  // namespace

BOOST_AUTO_TEST_SUITE(expression)

BOOST_AUTO_TEST_CASE(precedence_is_that_of_arithmetic) {
  BOOST_TEST(value("8 * layout.data") == 48);
  BOOST_TEST(value("1 + 2 * 3 - 4 / 2") == 5);
  BOOST_TEST(value("(1 + 2) * (3 - 4) / 2") == -1.5);
  BOOST_TEST(value("2 - 3 - 4") == -5);
  BOOST_TEST(value("24 / 4 / 3") == 2);
  BOOST_TEST(value("17 % 5 * 2") == 4);
  BOOST_TEST(value("--3 - -2") == 5);
  BOOST_TEST(value("-ranks*a_b.c1") == -32);
  BOOST_TEST(value("1e3 + 2.5e-1 + .5") == 1000.75);
  BOOST_TEST(value("max(1, ranks / 128, 0.25) + min(4, 3) + floor(2.7) + ceil(2.1)") == 9);
}

BOOST_AUTO_TEST_CASE(conditions_are_one_or_zero) {
  BOOST_TEST(value("ranks > 8 and ranks != 12") == 1);
  BOOST_TEST(value("ranks < 8 or ranks == 64") == 1);
  BOOST_TEST(value("not ranks <= 64 or 1 > 2 and 1 < 2") == 0);
  BOOST_TEST(value("not not ranks >= 64") == 1);
  BOOST_TEST(value("ranks + 1 > 2 * 32") == 1);
  BOOST_TEST(value("(ranks > 8) + (ranks > 9)") == 2);
}

BOOST_AUTO_TEST_CASE(names_are_found_once_in_order) {
  auto const names = Expression("b.c * a + max(b.c, x_1)").names();
  BOOST_TEST(names == (std::vector<std::string>{"b.c", "a", "x_1"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(what_cannot_be_worked_out_says_where) {
  BOOST_TEST(contains(refusal("8 *"), "a number or a config key was expected at its end"));
  BOOST_TEST(contains(refusal("8 ranks"), "an operator or the end was expected instead of ranks"));
  BOOST_TEST(contains(refusal("(1 + 2"), "a closing parenthesis was expected at its end"));
  BOOST_TEST(contains(refusal("1 + $"), "instead of $"));
  BOOST_TEST(contains(refusal("sqrt(2)"), "there is no function sqrt"));
  BOOST_TEST(contains(refusal("ceil(1, 2)"), "ceil takes one number"));
  BOOST_TEST(contains(refusal("1 / (ranks - 64)"), "divides by zero"));
  BOOST_TEST(contains(refusal("ranks % 0"), "divides by zero"));
  BOOST_TEST(contains(refusal(""), "expected at its end"));
  BOOST_TEST(contains(refusal("1.2.3"), "takes a number"));
  BOOST_TEST(contains(refusal("and 1"), "instead of and"));
  BOOST_TEST(contains(refusal(std::string(100000, '(')), "nested too deeply"));
}

BOOST_AUTO_TEST_CASE(any_text_is_worked_out_or_refused) {
  std::mt19937 random(3);
  std::vector<std::string> const parts{"1",    "2.5", "ranks", "layout.data", "+",   "-",  "*",   "/", "%", "(",   ")",
                                       "min(", ",",   "<",     "==",          "and", "or", "not", " ", "&", "\xff"};
  for (int draw = 0; draw < 5000; ++draw) {
    std::string text;
    for (unsigned n = random() % 12; n > 0; --n) text += parts[random() % parts.size()] + " ";
    refusal(text);  // an Error is caught; anything else ends the test
  }
}

BOOST_AUTO_TEST_SUITE_END()
