#include "core/toml.hpp"

#include <boost/test/unit_test.hpp>
#include <filesystem>

#include "core/config.hpp"
#include "core/error.hpp"
#include "tests/contains.hpp"

using namespace selenite;

namespace {
std::string message_of(auto const& body) {
  try {
    body();
  } catch (Error const& e) {
    return e.what();
  }
  return "";
}
}  // namespace

BOOST_AUTO_TEST_SUITE(toml)

BOOST_AUTO_TEST_CASE(values_keep_their_type_their_line_and_the_order_of_the_file) {
  TomlNode const root = parse_toml("zeta = 1\n\"b.c\" = 2.5\n[m]\nz = \"t\"\na = [1, \"x\", true]\ny.q = 3\n", "text");
  BOOST_REQUIRE_EQUAL(root.table()->size(), 3u);
  BOOST_TEST((*root.table())[0].key == "zeta");
  BOOST_TEST((*root.table())[1].key == "b.c");
  BOOST_TEST(*(*root.table())[1].node.get_if<double>() == 2.5);
  TomlNode const& m = (*root.table())[2].node;
  BOOST_TEST((*m.table())[0].key == "z");
  BOOST_TEST((*m.table())[1].key == "a");
  BOOST_TEST((*m.table())[2].key == "y");
  TomlNode const* a = m.find("a");
  BOOST_REQUIRE(a);
  BOOST_TEST(a->line == 5);
  BOOST_TEST(*(*a->array())[0].get_if<std::int64_t>() == 1);
  BOOST_TEST(*(*a->array())[1].get_if<std::string>() == "x");
  BOOST_TEST(*(*a->array())[2].get_if<bool>() == true);
  BOOST_TEST(!m.find("none"));
}

BOOST_AUTO_TEST_CASE(a_syntax_error_names_file_and_line) {
  BOOST_TEST(contains(message_of([] { parse_toml("a = 1\nb = = 2\n", "some.toml"); }), "some.toml line 2 column"));
  BOOST_TEST(
      contains(message_of([] { parse_toml("a = 1\nd = 1979-05-27\n", "some.toml"); }), "some.toml line 2: dates"));
}

BOOST_AUTO_TEST_CASE(a_file_that_cannot_be_read_is_named) {
  BOOST_TEST(contains(message_of([] { read_toml("no/such.toml", "study"); }), "Can't read the study no/such.toml"));
  std::string const folder = std::filesystem::temp_directory_path().string();
  BOOST_TEST(contains(message_of([&] { read_toml(folder, "study"); }), "Can't read the study"));
}

BOOST_AUTO_TEST_CASE(config_errors_keep_name_line_and_advice) {
  auto const parse = [](std::string const& text) { return message_of([&] { parse_config(text, {}, "run.toml"); }); };
  BOOST_TEST(contains(parse("[train]\nmicro_bath = 2\n"), "Did you mean train.micro_batch?"));
  BOOST_TEST(contains(parse("[trane]\nmicro_batch = 2\n"), "Did you mean train?"));
  BOOST_TEST(
      contains(parse("[train]\n\nmicro_batch = 2.5\n"), "run.toml line 3: train.micro_batch takes a whole number"));
  BOOST_TEST(contains(parse("[train]\nlr = true\n"), "train.lr takes a number"));
  BOOST_TEST(contains(parse("[data]\ntrain = \"one\"\n"), "data.train takes a list of strings"));
  BOOST_TEST(contains(parse("train = 3\n"), "train is a section"));
}

BOOST_AUTO_TEST_CASE(numbers_are_taken_where_the_config_wants_them) {
  Config const c = parse_config("[train]\nlr = 1\n[data]\ntrain = [0.5, \"a\", 2, \"b\"]\n", {}, "t");
  BOOST_TEST(c.train.lr == 1.0);
  BOOST_TEST(c.data.train == (std::vector<std::string>{"0.5", "a", "2.0", "b"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
