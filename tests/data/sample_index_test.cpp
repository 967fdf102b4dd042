// Random draws, epochs, document, sample and shuffle index, splits: against numpy and a plain Python walk.
#define BOOST_TEST_MODULE sample_index
#include "data/sample_index.hpp"

#include <boost/test/unit_test.hpp>

#include "core/error.hpp"
#include "core/parallel_for.hpp"
#include "data/splits.hpp"
#include "tests/data/dataset_fixtures.hpp"

using namespace selenite;
using namespace selenite::testing;

namespace {

template <class T>
void check_shuffle(NumpyRandom& random, nlohmann::json const& expected) {
  std::vector<T> values(expected["size"].get<std::size_t>());
  std::iota(values.begin(), values.end(), T{0});
  random.shuffle(std::span(values));
  if (!expected.contains("values")) return check_digest(std::span<T const>(values), expected, "shuffle");
  BOOST_TEST(values == expected["values"].get<std::vector<T>>(), boost::test_tools::per_element());
}

SampleRequest request_of(nlohmann::json const& c) {
  SampleRequest request;
  if (!c["samples"].is_null()) request.samples = c["samples"].get<std::int64_t>();
  request.sequence_length = c["sequence_length"];
  request.seed = c["seed"];
  request.drop_last = c["drop_last"];
  return request;
}

struct Built {
  EpochPlan plan;
  std::vector<std::int32_t> documents, rows;
  std::vector<std::uint32_t> order;
};

Built build(std::vector<std::int32_t> const& lengths, std::int64_t first, std::int64_t last,
            SampleRequest const& request) {
  auto const length = [&](std::int64_t i) { return std::int64_t{lengths[static_cast<std::size_t>(i)]}; };
  std::int64_t const tokens = std::accumulate(lengths.begin() + first, lengths.begin() + last, std::int64_t{0});
  Built built{plan_epochs(tokens, last - first, request), {}, {}, {}};
  NumpyRandom random(request.seed);
  built.documents = build_document_index(first, last, built.plan, random);
  built.rows = build_sample_index<std::int32_t>(built.documents, built.plan, request.sequence_length, length);
  auto const wide = build_sample_index<std::int64_t>(built.documents, built.plan, request.sequence_length, length);
  BOOST_TEST(std::equal(wide.begin(), wide.end(), built.rows.begin(), built.rows.end()));
  NumpyRandom copy = random;
  built.order = build_shuffle_index<std::uint32_t>(built.plan, random);
  auto const wide_order = build_shuffle_index<std::int64_t>(built.plan, copy);
  BOOST_TEST(std::equal(wide_order.begin(), wide_order.end(), built.order.begin(), built.order.end()));
  return built;
}

}  // namespace

BOOST_AUTO_TEST_CASE(random_draws_equal_numpy) {
  for (auto const& c : load_json("random.json")) {
    BOOST_TEST_CONTEXT("seed " << c["seed"]) {
      NumpyRandom random(c["seed"].get<std::uint32_t>());
      for (auto const& value : c["next32"]) BOOST_TEST(random.next32() == value.get<std::uint32_t>());
      for (auto const& value : c["random"]) BOOST_TEST(random.random() == hex_double(value));
      for (auto const& draw : c["randint"]) {
        BOOST_TEST(random.randint(draw[0].get<std::int64_t>(), draw[1].get<std::int64_t>()) ==
                   draw[2].get<std::int64_t>());
      }
      for (auto const& shuffle : c["shuffles"]) {
        bool const wide = shuffle.contains("item") && shuffle["item"] == 8;
        wide ? check_shuffle<std::int64_t>(random, shuffle) : check_shuffle<std::int32_t>(random, shuffle);
      }
      BOOST_TEST(random.random() == hex_double(c["after"]));
    }
  }
}

BOOST_AUTO_TEST_CASE(indices_equal_the_plain_walk) {
  int number = 0;
  for (auto const& c : load_json("indices.json")) {
    BOOST_TEST_CONTEXT("case " << number++ << ": samples " << c["samples"] << ", length " << c["sequence_length"]) {
      auto const built = build(c["lengths"], c["first"], c["last"], request_of(c));
      BOOST_TEST(built.plan.epochs == c["epochs"].get<std::int64_t>());
      BOOST_TEST(built.plan.separate_last_epoch == c["separate"].get<bool>());
      BOOST_TEST(built.documents == c["documents"].get<std::vector<std::int32_t>>(), boost::test_tools::per_element());
      BOOST_TEST(built.rows == c["rows"].get<std::vector<std::int32_t>>(), boost::test_tools::per_element());
      BOOST_TEST(built.order == c["order"].get<std::vector<std::uint32_t>>(), boost::test_tools::per_element());
    }
  }
  BOOST_TEST(number > 30);
}

BOOST_AUTO_TEST_CASE(large_indices_on_one_and_two_threads) {
  std::vector<std::int32_t> lengths(100000);
  for (std::size_t i = 0; i < lengths.size(); ++i) lengths[i] = static_cast<std::int32_t>(i * 7919 % 523);
  for (int const count : {1, 2}) {
    set_threads(count);
    for (auto c : load_json("big_indices.json")) {
      c["seed"] = 77, c["sequence_length"] = 128;
      auto const built = build(lengths, 0, 100000, request_of(c));
      BOOST_TEST(built.plan.epochs == c["epochs"].get<std::int64_t>());
      BOOST_TEST(built.plan.separate_last_epoch == c["separate"].get<bool>());
      check_digest(std::span(std::as_const(built.documents)), c["documents"], "document index");
      check_digest(std::span(std::as_const(built.rows)), c["rows"], "sample index");
      check_digest(std::span(std::as_const(built.order)), c["order"], "shuffle index");
    }
  }
  set_threads(0);
}

BOOST_AUTO_TEST_CASE(splits_round_half_to_even) {
  int halves = 0;
  for (auto const& c : load_json("splits.json")) {
    auto const fractions = parse_split(c["split"].get<std::string>());
    for (std::size_t i = 0; i < 3; ++i) {
      auto const& expected = c["ranges"][i];
      BOOST_TEST_CONTEXT(c["split"] << " of " << c["elements"]) {
        BOOST_REQUIRE(fractions[i].has_value() == !expected.is_null());
        if (expected.is_null()) continue;
        auto const range = split_range(*fractions[i], c["elements"].get<std::int64_t>());
        BOOST_TEST(range.first == expected[0].get<std::int64_t>());
        BOOST_TEST(range.last == expected[1].get<std::int64_t>());
        double const end = (*fractions[i])[1] * c["elements"].get<double>();
        halves += end - std::floor(end) == 0.5;
      }
    }
  }
  BOOST_TEST(halves > 0);
}

BOOST_AUTO_TEST_CASE(impossible_requests_are_named) {
  for (char const* text : {"", "a,b", "1,2,3,4", "-1,2", "0,0,0", "nan", "1;2", "1e400"}) {
    BOOST_CHECK_THROW(parse_split(text), Error);
  }
  SampleRequest request{std::int64_t{10}, 8, 0, true};
  BOOST_CHECK_THROW(plan_epochs(0, 0, request), Error);
  request.samples = std::int64_t{1} << 60;
  BOOST_CHECK_THROW(plan_epochs(5, 5, request), Error);
  request.samples = std::int64_t{1} << 40;
  BOOST_CHECK_THROW(plan_epochs(5, 5, request), Error);
  request.samples = 10, request.sequence_length = 0;
  BOOST_CHECK_THROW(plan_epochs(5, 5, request), Error);
}
