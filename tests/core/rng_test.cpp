#include "core/rng.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <set>
#include <vector>

#include "core/simd_philox.hpp"

using namespace selenite;

BOOST_AUTO_TEST_SUITE(rng)

// kat_vectors of Random123 for philox4x32, 10 rounds.
BOOST_AUTO_TEST_CASE(philox_known_answers) {
  constexpr std::uint32_t ones = 0xffffffffu;
  BOOST_TEST((philox({0, 0, 0, 0}, 0) == Words4{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  BOOST_TEST((philox({ones, ones, ones, ones}, ~0ull) == Words4{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  BOOST_TEST((philox({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, 0x299f31d0a4093822ull) ==
              Words4{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

BOOST_AUTO_TEST_CASE(vectors_of_philox_draw_the_same) {
  constexpr std::int64_t quads = 37, first = (1ll << 31) - 5;
  std::uint32_t words[4 * quads + simd::philox_slack];
  std::uint64_t const key = 0xfedcba9876543210ull;
  Words4 const token = pack_counter(Purpose::hidden_dropout, 0xfffff, 0xf, 0xffffffffffull, hidden_detail(0xffffff, 0));
  simd::hidden_words(token, key, first, quads, words);
  for (std::int64_t q = 0; q < quads; ++q) {
    auto const detail = hidden_detail(0xffffff, static_cast<std::uint64_t>(first + q));
    Words4 const expected = philox(pack_counter(Purpose::hidden_dropout, 0xfffff, 0xf, 0xffffffffffull, detail), key);
    for (int j = 0; j < 4; ++j) BOOST_REQUIRE_EQUAL(words[4 * q + j], expected[static_cast<std::size_t>(j)]);
  }
}

// Every field at its ends and in the middle: all different, so that no two places in a training share a draw.
BOOST_AUTO_TEST_CASE(counters_do_not_collide) {
  std::set<Words4> seen;
  std::size_t drawn = 0;
  auto see = [&](Words4 const& counter) { seen.insert(counter), ++drawn; };
  std::uint64_t const details[] = {0, 1, 0xffffff, 0x1000000, 0xfffffff, 1ull << 55, (1ull << 56) - 1};
  for (auto const purpose : {Purpose::hidden_dropout, Purpose::attention_dropout, Purpose::sampling})
    for (std::uint32_t const layer : {0u, 1u, 0xfffffu})
      for (std::uint32_t const site : {0u, 1u, 0xfu})
        for (std::uint64_t const sample : {0ull, 1ull, 0xffffffffull, 0x100000000ull, 0xffffffffffull})
          for (std::uint64_t const detail : details) see(pack_counter(purpose, layer, site, sample, detail));
  BOOST_TEST(seen.size() == drawn);
}
BOOST_AUTO_TEST_CASE(details_do_not_collide) {
  std::set<std::uint64_t> hidden, attention;
  for (std::uint64_t const position : {0ull, 1ull, 0xffffffull})
    for (std::uint64_t const quad : {0ull, 1ull, 0xffffull, 0xffffffffull})
      hidden.insert(hidden_detail(position, quad));
  BOOST_TEST(hidden.size() == 12u);
  for (std::uint64_t const head : {0ull, 1ull, 0xfffull})
    for (std::uint64_t const query : {0ull, 1ull, 0xfffffull})
      for (std::uint64_t const octet : {0ull, 1ull, 0xffffffull})
        attention.insert(attention_detail(head, query, octet));
  BOOST_TEST(attention.size() == 27u);
  BOOST_TEST(*attention.rbegin() >> 56 == 0u);  // fits the counter
}

// Quantiles of the standard normal distribution, from tables (scipy.stats.norm.ppf prints the same).
BOOST_AUTO_TEST_CASE(normals_are_the_quantiles) {
  auto word_at = [](double u) { return static_cast<std::uint32_t>(u * 4294967296.0 - 0.5); };
  struct {
    double u, quantile;
  } const table[] = {{0.5, 0.0},
                     {0.75, 0.67448975019608171},
                     {0.9, 1.2815515655446004},
                     {0.975, 1.959963984540054},
                     {0.99, 2.3263478740408408},
                     {0.999, 3.0902323061678132},
                     {0.999999, 4.753424308822899},
                     {0.025, -1.959963984540054},
                     {1e-6, -4.753424308822899},
                     {1e-8, -5.612001244174789}};
  for (auto const& [u, quantile] : table) {
    double const density = std::exp(-0.5 * quantile * quantile) / 2.5066282746310002;
    BOOST_TEST(std::abs(normal_from_word(word_at(u)) - quantile) <
               1.0 / 4294967296.0 / density + 1e-13);  // a word's own width
  }
  BOOST_TEST(normal_from_word(0) == -normal_from_word(0xffffffffu));
  BOOST_TEST(std::abs(normal_from_word(0) + 6.3378) < 1e-3);  // the quantile of 2^-33
}

BOOST_AUTO_TEST_CASE(normals_grow_with_the_word) {  // also where the approximations meet
  double last = -10;
  for (std::uint64_t word = 0; word < 1ull << 32; word += 65521) {
    double const x = normal_from_word(static_cast<std::uint32_t>(word));
    BOOST_REQUIRE(x > last);
    last = x;
  }
}

BOOST_AUTO_TEST_CASE(normals_moments_and_correlation) {
  constexpr std::int64_t n = 1 << 20;
  std::vector<std::uint32_t> words(n);
  for (std::int64_t q = 0; q < n / 4; ++q) {
    Words4 const w = init_words(1234, name_hash("embedding.weight"), static_cast<std::uint64_t>(q));
    std::copy(w.begin(), w.end(), words.begin() + 4 * q);
  }
  std::vector<float> x(n);
  normals_from_words(words.data(), x.data(), n, 1.0f);
  double mean = 0, variance = 0, fourth = 0, lag1 = 0, lag4 = 0;
  std::int64_t beyond2 = 0, beyond4 = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double const v = x[i];
    mean += v / n, variance += v * v / n, fourth += v * v * v * v / n;
    if (i >= 4) lag1 += v * static_cast<double>(x[i - 1]) / n, lag4 += v * static_cast<double>(x[i - 4]) / n;
    beyond2 += std::abs(v) > 2, beyond4 += std::abs(v) > 4;
  }
  double const deviation = 1 / std::sqrt(static_cast<double>(n));  // of the mean; four of them are allowed
  BOOST_TEST(std::abs(mean) < 4 * deviation);
  BOOST_TEST(std::abs(variance - 1) < 4 * std::sqrt(2.0) * deviation);
  BOOST_TEST(std::abs(fourth - 3) < 4 * std::sqrt(96.0) * deviation);
  BOOST_TEST(std::abs(lag1) < 4 * deviation);
  BOOST_TEST(std::abs(lag4) < 4 * deviation);
  double const p2 = 0.045500263896358, p4 = 6.334248366624e-5;
  BOOST_TEST(std::abs(static_cast<double>(beyond2) - p2 * n) < 4 * std::sqrt(p2 * n));
  BOOST_TEST(std::abs(static_cast<double>(beyond4) - p4 * n) < 4 * std::sqrt(p4 * n));
}

BOOST_AUTO_TEST_CASE(vectors_of_normals_draw_the_same_bits) {
  std::vector<std::uint32_t> words{0, 1, 0xffffffffu, 0xfffffffeu, 0x7fffffffu, 0x80000000u};
  for (std::uint32_t i = 0; i < 100000; ++i) words.push_back(philox({i, 0, 0, 0}, 3)[0]);
  for (double const u : {0.075, 0.925})  // where the approximation changes
    for (std::int64_t d = -1000; d <= 1000; ++d)
      words.push_back(static_cast<std::uint32_t>(static_cast<std::int64_t>(u * 4294967296.0) + d));
  for (std::int64_t const n :
       {std::int64_t{1}, std::int64_t{7}, std::int64_t{33}, static_cast<std::int64_t>(words.size())}) {
    std::vector<float> x(static_cast<std::size_t>(n) + 1, 5.0f);
    normals_from_words(words.data(), x.data(), n, 0.02f);
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i)
      BOOST_REQUIRE_EQUAL(x[i], static_cast<float>(normal_from_word(words[i])) * 0.02f);
    BOOST_REQUIRE_EQUAL(x.back(), 5.0f);
  }
}

// Known bits, so that another compiler, processor or backend that rounds differently is seen.
BOOST_AUTO_TEST_CASE(normals_known_bits) {
  struct {
    std::uint32_t word;
    std::uint64_t bits;
  } const table[] = {{0, 0xc0195a1198fcf3d5ull},
                     {0x12345678u, 0xbff77b263457d4ceull},
                     {0x80000000u, 0x3df40d931ff62705ull},
                     {0xdeadbeefu, 0x3ff20293483584e6ull},
                     {0xffffffffu, 0x40195a1198fcf3d5ull}};
  for (auto const& [word, bits] : table) BOOST_TEST(std::bit_cast<std::uint64_t>(normal_from_word(word)) == bits);
}

BOOST_AUTO_TEST_SUITE_END()
