// Blends against a plain Python draw and numpy's sums.
#define BOOST_TEST_MODULE blend
#include "data/blend.hpp"

#include <boost/test/unit_test.hpp>

#include "core/error.hpp"
#include "tests/data/dataset_fixtures.hpp"

using namespace selenite;
using namespace selenite::testing;

namespace {

std::vector<double> doubles(nlohmann::json const& texts) {
  std::vector<double> values;
  for (auto const& text : texts) values.push_back(hex_double(text));
  return values;
}

using Strings = std::vector<std::string>;

}  // namespace

BOOST_AUTO_TEST_CASE(greedy_blends_equal_the_plain_draw) {
  auto const cases = load_json("blends.json");  // outlives the loop
  for (auto const& c : cases.at("greedy")) {
    BOOST_TEST_CONTEXT(c["weights"].size() << " weights, " << c["requested"] << " samples") {
      auto const once = normalize_weights(doubles(c["weights"]));
      BOOST_TEST(once == doubles(c["normalized"]), boost::test_tools::per_element());
      auto const twice = normalize_weights(once);
      BOOST_TEST(twice == doubles(c["twice"]), boost::test_tools::per_element());
      auto const requested = c["requested"].get<std::int64_t>();
      std::vector<std::int64_t> blended, prepared;
      for (double const weight : once) {
        blended.push_back(blended_samples(requested, weight));
        prepared.push_back(prepared_samples(requested, weight));
      }
      BOOST_TEST(blended == c["blended"].get<std::vector<std::int64_t>>(), boost::test_tools::per_element());
      BOOST_TEST(prepared == c["prepared"].get<std::vector<std::int64_t>>(), boost::test_tools::per_element());
      std::vector<std::int64_t> const plenty(once.size(), requested + 1);
      auto const index = open_blend_index(twice, c["size"].get<std::int64_t>(), plenty, {});
      check_digest(index.dataset.view(), c["dataset"], "dataset index");
      check_digest(index.sample.view(), c["sample"], "sample index");
    }
  }
}

BOOST_AUTO_TEST_CASE(exhaustive_blends_draw_each_corpus_to_its_end) {
  auto const cases = load_json("blends.json");  // outlives the loop
  for (auto const& c : cases.at("exhaustive")) {
    auto const index = open_exhaustive_blend_index(c["sizes"].get<std::vector<std::int64_t>>(), {});
    auto const datasets = c["dataset"].get<std::vector<std::int16_t>>();
    auto const samples = c["sample"].get<std::vector<std::int64_t>>();
    BOOST_TEST(index.dataset.view() == datasets, boost::test_tools::per_element());
    BOOST_TEST(index.sample.view() == samples, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(a_cached_blend_is_mapped_and_a_damaged_one_made_again) {
  ScratchFolder const folder;
  std::vector<double> const weights = {0.25, 0.75};
  std::vector<std::int64_t> const available = {2000, 2000};
  auto const make = [&] { return open_blend_index(weights, 1000, available, folder / "cache"); };
  auto const whole = open_blend_index(weights, 1000, available, {});
  auto const check = [&](BlendIndex const& index) {
    BOOST_TEST(index.dataset.view() == whole.dataset.view(), boost::test_tools::per_element());
    BOOST_TEST(index.sample.view() == whole.sample.view(), boost::test_tools::per_element());
  };
  check(make());
  std::mt19937 random(1);
  for (int draw = 0; draw < 100; ++draw) {
    for (auto const& entry : std::filesystem::directory_iterator(folder / "cache")) {
      std::string bytes = read_file(entry.path());
      if (bytes.empty()) continue;
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
      if (draw % 10 == 0) bytes.resize(random() % bytes.size());
      write_file(entry.path(), bytes);
    }
    check(make());
  }
}

BOOST_AUTO_TEST_CASE(lists_of_corpora) {
  auto const plain = parse_blend(Strings{"a", "b"});
  BOOST_TEST(plain.prefixes.size() == 2);
  BOOST_TEST(plain.weights.empty());
  auto const weighted = parse_blend(Strings{"0.7", "a", "30", "b.c"});
  BOOST_TEST(weighted.weights == (std::vector<double>{0.7, 30}), boost::test_tools::per_element());
  BOOST_TEST(weighted.prefixes[1].string() == "b.c");
  for (auto const& bad : {Strings{}, Strings{"0.7", "a", "b"}, Strings{"0.7", "a", "b", "0.3"}, Strings{"a", "1"},
                          Strings{"-1", "a"}, Strings{"nan", "a"}, Strings{"1", "2"}}) {
    BOOST_CHECK_THROW(parse_blend(bad), Error);
  }
  BOOST_CHECK_THROW(normalize_weights({0, 0}), Error);
  BOOST_CHECK_THROW(open_blend_index({0.5, 0.5}, 100, std::vector<std::int64_t>{50, 49}, {}), Error);
}
