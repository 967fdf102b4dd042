#include "core/text.hpp"

#include <boost/test/unit_test.hpp>
#include <limits>
#include <random>

using namespace selenite;

BOOST_AUTO_TEST_SUITE(text)

BOOST_AUTO_TEST_CASE(split_join_trim) {
  BOOST_TEST(split("a,b,,c", ',') == (std::vector<std::string>{"a", "b", "", "c"}), boost::test_tools::per_element());
  BOOST_TEST(split("", ',') == (std::vector<std::string>{""}), boost::test_tools::per_element());
  BOOST_TEST(join(split("a,b,,c", ','), ",") == "a,b,,c");
  BOOST_TEST(trim(" \t x y \r\n") == "x y");
  BOOST_TEST(trim(" \n") == "");
}

BOOST_AUTO_TEST_CASE(doubles_are_short_and_read_back_to_the_bit) {
  BOOST_TEST(format_double(0.1) == "0.1");
  BOOST_TEST(format_double(3) == "3.0");
  BOOST_TEST(format_double(-1e300).find("e") != std::string::npos);
  std::mt19937_64 random(1);
  for (int i = 0; i < 10000; ++i) {
    double const x = std::bit_cast<double>(random());
    if (!std::isfinite(x)) continue;
    BOOST_TEST_REQUIRE(std::bit_cast<std::uint64_t>(parse_double(format_double(x), "x")) ==
                       std::bit_cast<std::uint64_t>(x));
  }
}

BOOST_AUTO_TEST_CASE(numbers_are_the_whole_text_or_an_error) {
  BOOST_TEST(parse_integer("-9223372036854775808", "x") == std::numeric_limits<std::int64_t>::min());
  for (char const* bad : {"", " 1", "1 ", "1.0", "0x10", "9223372036854775808", "+1", "1e3"})
    BOOST_CHECK_EXCEPTION(parse_integer(bad, "seed"), Error,
                          [](Error const& e) { return std::string(e.what()).find("seed takes a whole number") == 0; });
  for (char const* bad : {"", " 1.5", "1.5x", "--1", "1,5", "1e999"})
    BOOST_CHECK_EXCEPTION(parse_double(bad, "lr"), Error,
                          [](Error const& e) { return std::string(e.what()).find("lr takes a number") == 0; });
}

BOOST_AUTO_TEST_CASE(utf8_is_told_from_other_bytes) {
  for (char const* good : {"", "plain", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xef\xbf\xbf",
                           "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "a é ü 漢 x"})
    BOOST_TEST(is_utf8(good), good);
  for (char const* bad :
       {"\x80", "a\xff", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3z", "\xe0\x9f\xbf", "\xe2\x82", "\xe2\x82z",
        "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "caf\xe9"})
    BOOST_TEST(!is_utf8(bad), bad);
}

BOOST_AUTO_TEST_CASE(figures_for_people) {
  BOOST_TEST(format_bytes(0) == "0 B");
  BOOST_TEST(format_bytes(1536) == "1.50 KiB");
  BOOST_TEST(format_bytes(1.5 * (1ll << 30)) == "1.50 GiB");
  BOOST_TEST(format_count(124439808) == "124 M");
  BOOST_TEST(format_count(1234) == "1.23 k");
  BOOST_TEST(format_duration(4.54) == "4.5 s");
  BOOST_TEST(format_duration(0) == "0 s");
  BOOST_TEST(format_duration(0.0123) == "12.3 ms");
  BOOST_TEST(format_duration(0.94) == "940 ms");
  BOOST_TEST(format_duration(2.5e-6) == "2.5 us");
  BOOST_TEST(format_duration(123) == "2:03");
  BOOST_TEST(format_duration(3723) == "1:02:03");
}

BOOST_AUTO_TEST_SUITE_END()
