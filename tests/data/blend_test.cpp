// Blends against a plain Python draw and numpy's sums.
#define BOOST_TEST_MODULE blend
#include "data/blend.hpp"

#include <boost/test/unit_test.hpp>
#include <numeric>

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
    auto const index = open_exhaustive_blend_index(c["sizes"].get<std::vector<std::int64_t>>(), {}, 1, {});
    auto const datasets = c["dataset"].get<std::vector<std::int16_t>>();
    auto const samples = c["sample"].get<std::vector<std::int64_t>>();
    BOOST_TEST(index.dataset.view() == datasets, boost::test_tools::per_element());
    BOOST_TEST(index.sample.view() == samples, boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(an_exhaustive_blend_goes_on_with_epochs_in_orders_of_their_own) {
  ScratchFolder const folder;
  std::vector<std::int64_t> const available = {0, 7, 40, 0, 13};
  using Pairs = std::vector<std::pair<std::int64_t, std::int64_t>>;
  auto const drawn = [&](std::optional<std::int64_t> samples, std::uint32_t seed, bool cached = false) {
    auto const index = open_exhaustive_blend_index(available, samples, seed, cached ? folder / "cache" : "");
    Pairs pairs;
    for (std::int64_t i = 0; i < index.dataset.size(); ++i) pairs.emplace_back(index.dataset[i], index.sample[i]);
    return pairs;
  };
  Pairs const epoch = drawn({}, 1), all = drawn(200, 1);
  BOOST_TEST(epoch.size() == 60u);
  BOOST_TEST(all.size() == 200u);
  BOOST_TEST((drawn(60, 1) == epoch));
  auto const part = [&](std::size_t first, std::size_t count) {
    return Pairs(all.begin() + static_cast<std::ptrdiff_t>(first),
                 all.begin() + static_cast<std::ptrdiff_t>(first + count));
  };
  for (std::int64_t const fewer : {0, 1, 59, 61, 130, 199})
    BOOST_TEST((drawn(fewer, 1) == part(0, static_cast<std::size_t>(fewer))));
  BOOST_TEST((part(0, 60) == epoch));
  BOOST_TEST((part(60, 60) != epoch));
  BOOST_TEST((part(120, 60) != part(60, 60)));
  for (std::size_t const first : {60u, 120u}) {
    Pairs again = part(first, 60), once = epoch;
    std::sort(again.begin(), again.end());
    std::sort(once.begin(), once.end());
    BOOST_TEST((again == once));
  }
  for (int i = 0; i < 2; ++i) BOOST_TEST((drawn(200, 1, true) == all));
  BOOST_TEST((drawn(200, 2, true) != all));
  BOOST_CHECK_THROW(open_exhaustive_blend_index(std::vector<std::int64_t>{0, 0}, 1, 1, {}), Error);
}

BOOST_AUTO_TEST_CASE(an_exhaustive_blend_begins_as_the_greedy_one) {
  std::mt19937 random(5);
  for (int draw = 0; draw < 100; ++draw) {
    std::vector<std::int64_t> available(1 + random() % 20);
    for (auto& count : available) count = 1 + random() % 100;
    std::int64_t const epoch = std::accumulate(available.begin(), available.end(), std::int64_t{0});
    std::int64_t const size = 1 + random() % epoch;
    auto const weights = normalize_weights({available.begin(), available.end()});
    auto const greedy = open_blend_index(weights, size, available, {});
    auto const exhaustive = open_exhaustive_blend_index(available, size, 1, {});
    BOOST_TEST(exhaustive.dataset.view() == greedy.dataset.view(), boost::test_tools::per_element());
    BOOST_TEST(exhaustive.sample.view() == greedy.sample.view(), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(a_greedy_blend_draws_no_more_than_is_prepared) {
  std::mt19937 random(6);
  for (int draw = 0; draw < 300; ++draw) {
    std::vector<double> weights(1 + random() % 100);
    for (double& weight : weights) weight = random() % 4 == 0 ? 50 : 1 + random() % 3;
    weights = normalize_weights(weights);
    std::int64_t const size = 1 + random() % 200;
    std::vector<std::int64_t> prepared;
    for (double const weight : weights) prepared.push_back(prepared_samples(size, weight));
    BOOST_TEST(open_blend_index(normalize_weights(weights), size, prepared, {}).dataset.size() == size);
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
  auto const some = parse_blend(Strings{"0", "a", "2", "b", "0.0", "c"});  // what has weight 0 is never drawn
  BOOST_TEST(some.weights == std::vector<double>{2}, boost::test_tools::per_element());
  BOOST_TEST((some.prefixes == std::vector<std::filesystem::path>{"b"}));
  for (auto const& bad :
       {Strings{}, Strings{"0", "a", "0", "b"}, Strings{"0.7", "a", "b"}, Strings{"0.7", "a", "b", "0.3"},
        Strings{"a", "1"}, Strings{"-1", "a"}, Strings{"nan", "a"}, Strings{"1", "2"}}) {
    BOOST_CHECK_THROW(parse_blend(bad), Error);
  }
  BOOST_CHECK_THROW(normalize_weights({0, 0}), Error);
  BOOST_CHECK_THROW(open_blend_index({0.5, 0.5}, 100, std::vector<std::int64_t>{50, 49}, {}), Error);
}
