#include "plan/fit.hpp"

#include <boost/test/unit_test.hpp>

#include "core/error.hpp"
#include "plan/plan.hpp"

using namespace selenite;

namespace {

Config config(std::vector<std::string> more, std::int64_t world) {
  more.insert(more.begin(),
              {"model.layers=8", "model.hidden=256", "model.heads=8", "model.vocab_size=5000",
               "model.sequence_length=256", "train.global_batch=32", "train.micro_batch=4", "train.steps=10"});
  return resolve(parse_config("", more, "t"), world);
}
std::int64_t needs(Config const& c) {
  std::int64_t most = 0;
  for (StagePlan const& stage : make_plan(c, make_grid(c.layout), Rank(0), nullptr).stages)
    most = std::max(most, stage.footprint.total());
  return most;
}
Config with(Config c, std::vector<std::string> const& settings) {
  std::int64_t const world = make_grid(c.layout).world();
  c.layout.data = 0;
  for (std::string const& s : settings) set_field(c, s);
  return resolve(c, world);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(fit)

// What is named fits, to the byte, and no change alone does where two are named.
BOOST_AUTO_TEST_CASE(the_nearest_config_that_fits_does_fit) {
  Config const whole = config({}, 8);
  std::int64_t const all = needs(whole);
  std::size_t most_changes = 0;
  for (double share : {0.95, 0.8, 0.6, 0.4, 0.3, 0.2, 0.15}) {
    auto const limit = static_cast<std::int64_t>(share * static_cast<double>(all));
    auto const found = nearest_fit(whole, limit);
    BOOST_TEST_REQUIRE(found.has_value(), share << " of the memory");
    BOOST_TEST(found->bytes == needs(with(whole, found->settings)));
    BOOST_TEST(found->bytes <= limit);
    most_changes = std::max(most_changes, found->settings.size());
    for (std::string const& alone : found->settings)
      if (found->settings.size() > 1) BOOST_TEST(needs(with(whole, {alone})) > limit, alone << " alone fits");
  }
  BOOST_TEST(most_changes > 1u);
  BOOST_TEST(!nearest_fit(whole, 1000).has_value());
}

BOOST_AUTO_TEST_CASE(a_refusal_says_what_takes_the_room_and_what_to_change) {
  Config const c = config({}, 8);
  Footprint const needed = make_plan(c, make_grid(c.layout), Rank(0), nullptr).footprint;
  BOOST_CHECK_NO_THROW(require_fit(c, needed, needed.total(), "it"));
  auto refusal = [&](std::int64_t bytes) {
    try {
      require_fit(c, needed, bytes, "this machine has 1 GiB");
    } catch (Error const& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  std::string const near = refusal(needed.total() - 1), far = refusal(1);
  for (char const* part : {"A rank needs", "this machine has 1 GiB", "slots ", "moments ",
                           "Nearest that fits: --set train.optimizer_sharding=1 ("})
    BOOST_TEST(near.find(part) != std::string::npos, part << " is not in: " << near);
  BOOST_TEST(far.find("use more ranks, more memory or a smaller model") != std::string::npos, far);
}

BOOST_AUTO_TEST_SUITE_END()
