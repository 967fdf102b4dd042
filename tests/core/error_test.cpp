#define BOOST_TEST_MODULE core
#include "core/error.hpp"

#include <boost/test/unit_test.hpp>
#include <vector>

#include "core/dtype.hpp"
#include "core/parallel_for.hpp"

using namespace selenite;

BOOST_AUTO_TEST_CASE(validate_throws_the_joined_message) {
  BOOST_CHECK_NO_THROW(validate(true, "never"));
  BOOST_CHECK_EXCEPTION(validate(false, "layout.tensor = ", 8, " is wrong."), Error,
                        [](Error const& e) { return std::string(e.what()) == "layout.tensor = 8 is wrong."; });
}

BOOST_AUTO_TEST_CASE(the_nearest_name_is_found_and_nonsense_is_not) {
  std::vector<std::string_view> const names{"micro_batch", "global_batch", "steps"};
  BOOST_TEST(nearest_name("micro_bach", names) == "micro_batch");
  BOOST_TEST(nearest_name("glbal_batch", names) == "global_batch");
  BOOST_TEST(nearest_name("qqqqqqqqqq", names) == "");
}

BOOST_AUTO_TEST_CASE(bf16_rounds_to_nearest_even_and_keeps_nan) {
  BOOST_TEST(bf16(1.0f).bits == 0x3f80);
  BOOST_TEST(bf16(std::bit_cast<float>(0x3f808000u)).bits == 0x3f80);  // tie to even
  BOOST_TEST(bf16(std::bit_cast<float>(0x3f818000u)).bits == 0x3f82);
  BOOST_TEST(bf16(std::bit_cast<float>(0x3f808001u)).bits == 0x3f81);
  BOOST_TEST((bf16(std::bit_cast<float>(0x7f800001u)).bits & 0x7fff) > 0x7f80);
}

BOOST_AUTO_TEST_CASE(fp16_round_trips_every_value) {
  for (std::uint32_t b = 0; b < 0x10000u; ++b) {
    fp16 h;
    h.bits = static_cast<std::uint16_t>(b);
    bool const nan = (b & 0x7c00u) == 0x7c00u && (b & 0x3ffu);
    fp16 const back(static_cast<float>(h));
    if (nan)
      BOOST_REQUIRE((back.bits & 0x7fffu) > 0x7c00u);
    else
      BOOST_REQUIRE(back.bits == h.bits);
  }
  BOOST_TEST(fp16(65520.0f).bits == 0x7c00);
  BOOST_TEST(fp16(65519.0f).bits == 0x7bff);
}

BOOST_AUTO_TEST_CASE(parallel_for_covers_every_index_once_and_rethrows) {
  std::vector<int> seen(10007, 0);
  parallel_for(10007, 64, [&](std::int64_t first, std::int64_t last) {
    for (auto i = first; i < last; ++i) ++seen[i];
  });
  for (int s : seen) BOOST_REQUIRE(s == 1);
  BOOST_CHECK_THROW(parallel_for(100, 1, [](std::int64_t i, std::int64_t) { validate(i != 50, "fifty"); }), Error);
}
