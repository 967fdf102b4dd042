#include "schedule/stages.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <numeric>
#include <random>

#include "tests/schedule/support.hpp"

using namespace selenite;

namespace {

/// Seconds of the slowest part.
double slowest(std::vector<double> const& layers, double first, double last, std::vector<std::int64_t> const& counts) {
  double most = 0;
  auto layer = layers.begin();
  for (std::size_t p = 0; p < counts.size(); ++p) {
    double sum = (p == 0 ? first : 0) + (p + 1 == counts.size() ? last : 0);
    for (std::int64_t i = 0; i < counts[p]; ++i) sum += *layer++;
    most = std::max(most, sum);
  }
  return most;
}

/// Of all splits with a layer a part the fastest.
double fastest_of_all(std::vector<double> const& layers, double first, double last, std::size_t parts) {
  double best = 1e300;
  std::vector<std::int64_t> counts;
  auto const go = [&](auto const& self, std::int64_t left) -> void {
    if (counts.size() + 1 == parts) {
      counts.push_back(left);
      best = std::min(best, slowest(layers, first, last, counts));
      counts.pop_back();
      return;
    }
    for (std::int64_t n = 1; n <= left - static_cast<std::int64_t>(parts - counts.size() - 1); ++n) {
      counts.push_back(n);
      self(self, left - n);
      counts.pop_back();
    }
  };
  go(go, std::ssize(layers));
  return best;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(stages)

BOOST_AUTO_TEST_CASE(even) {
  BOOST_TEST(stages_text(even_split(12, 4)) == "3,3,3,3");
  BOOST_TEST(stages_text(even_split(14, 4)) == "4,4,3,3");
  BOOST_TEST(stages_text(even_split(2, 3)) == "1,1,0");
  BOOST_CHECK_THROW(even_split(3, 0), Error);
}

BOOST_AUTO_TEST_CASE(texts) {
  BOOST_TEST(stages_text(parse_stages("2, 3,0,3", 4, 8)) == "2,3,0,3");
  auto const refused = [](char const* stages, std::string const& why) {
    std::string const message = message_of([&] { parse_stages(stages, 3, 8); });
    BOOST_TEST(contains(message, concat("layout.stages = \"", stages, "\"")), message);
    BOOST_TEST(contains(message, why), message);
  };
  refused("3,3", "has 2 numbers (the pipeline has 3 virtual stages");
  refused("3,3,1,1", "has 4 numbers");
  refused("3,3,3", "has 9 layers (model.layers is 8)");
  refused("9,-1,0", "\"-1\" is no number of layers");
  refused("3,,5", "\"\" is no number of layers");
  refused("Auto", "\"Auto\" is no number of layers). Write one number a virtual stage, such as 3,4,4,3, or auto");
  refused("99999999999999999999,1,1", "is no number of layers");
  refused("3;3;2", "is no number of layers");
}

BOOST_AUTO_TEST_CASE(balanced_is_the_fastest_of_all_splits) {
  std::mt19937 random(3);
  auto const draw = [&](int most) { return static_cast<double>(random() % static_cast<unsigned>(most)) / 4; };
  for (int i = 0; i < 300; ++i) {
    std::size_t const parts = 1 + random() % 5, count = parts + random() % 8;
    std::vector<double> layers;
    for (std::size_t l = 0; l < count; ++l) layers.push_back(1 + draw(16));
    double const first = draw(40), last = draw(40);
    auto const counts = balanced_split(layers, first, last, static_cast<std::int64_t>(parts));
    BOOST_TEST_REQUIRE(counts.size() == parts);
    BOOST_TEST(*std::min_element(counts.begin(), counts.end()) >= 1);
    BOOST_TEST(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}) == static_cast<std::int64_t>(count));
    BOOST_TEST(slowest(layers, first, last, counts) == fastest_of_all(layers, first, last, parts));
  }
}

BOOST_AUTO_TEST_CASE(balanced_by_hand) {
  std::vector<double> const ten(10, 1);
  BOOST_TEST(stages_text(balanced_split(ten, 0, 0, 5)) == "2,2,2,2,2");
  BOOST_TEST(stages_text(balanced_split(ten, 0, 2, 4)) == "3,3,3,1");
  BOOST_TEST(stages_text(balanced_split(ten, 1, 1, 3)) == "3,4,3");
  BOOST_TEST(stages_text(balanced_split({1, 1}, 0, 100, 2)) == "1,1");
}

BOOST_AUTO_TEST_SUITE_END()
