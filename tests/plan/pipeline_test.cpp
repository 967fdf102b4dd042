// Walking one of the stages that are alike gives what walking each does, to the byte and the last bit.
#include "plan/pipeline.hpp"

#include <boost/test/unit_test.hpp>

#include "core/text.hpp"
#include "plan/plan.hpp"
#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

bool same(ActionSeconds const& a, ActionSeconds const& b) {
  return a.forward == b.forward && a.backward == b.backward && a.backward_input == b.backward_input &&
         a.backward_weight == b.backward_weight && a.forward_message == b.forward_message &&
         a.backward_message == b.backward_message;
}

void check_same(Config const& config, Rank rank) {
  Machine const machine = small_machine();
  ProcessGrid const grid = make_grid(config.layout);
  Plan const once = make_plan(config, grid, rank, &machine),
             each = make_plan(config, grid, rank, &machine, Walking::each);
  BOOST_TEST(once.step_seconds == each.step_seconds);
  BOOST_TEST(once.parameters == each.parameters);
  BOOST_TEST(once.model_flops == each.model_flops);
  BOOST_TEST_REQUIRE(once.stages.size() == each.stages.size());
  for (std::size_t s = 0; s < once.stages.size(); ++s) {
    BOOST_TEST_CONTEXT("stage " << s) {
      StagePlan const &a = once.stages[s], &b = each.stages[s];
      for (std::size_t i = 0; i < a.footprint.rows().size(); ++i)
        BOOST_TEST(a.footprint.rows()[i].second == b.footprint.rows()[i].second, a.footprint.rows()[i].first);
      BOOST_TEST(a.layers == b.layers, boost::test_tools::per_element());
      BOOST_TEST((a.step.sent == b.step.sent));
      BOOST_TEST(a.step.flops == b.step.flops);
      BOOST_TEST(a.step.hardware_flops == b.step.hardware_flops);
      BOOST_TEST(a.step.seconds == b.step.seconds, boost::test_tools::per_element());
      BOOST_TEST(a.exposed.communication == b.exposed.communication, boost::test_tools::per_element());
      BOOST_TEST(a.exposed.total() == b.exposed.total());
      BOOST_TEST(a.busy == b.busy);
      for (std::size_t c = 0; c < a.seconds.chunks.size(); ++c)
        BOOST_TEST(same(a.seconds.chunks[c], b.seconds.chunks[c]));
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(pipeline)

BOOST_AUTO_TEST_CASE(alike_stages_are_alike_in_drawn_layouts) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Config const config = drawn(seed, 16);
    BOOST_TEST_CONTEXT(draw(seed, 16).text()) {
      check_same(config, Rank(0));
      check_same(config, Rank(make_grid(config.layout).world() / 2));
    }
  }
}

BOOST_AUTO_TEST_CASE(alike_stages_are_alike_in_long_pipelines) {
  for (auto const& settings : long_pipelines()) BOOST_TEST_CONTEXT(join(settings, " ")) {
      check_same(resolved(settings, 24), Rank(1));
    }
}

// The slots that a stage is asked for are those that it would have been made with.
BOOST_AUTO_TEST_CASE(a_stage_with_other_slots_is_the_stage_that_has_them) {
  Config const config = resolved(long_pipelines()[0], 24);
  ProcessGrid const grid = make_grid(config.layout);
  Schedules const schedules(config);
  auto rank = [&](std::int64_t stage) { return grid.rank({0, 0, 0, 0, stage}); };
  StageState state(config, grid, rank(1));
  for (std::int64_t s : {4, 1, 2, 3})
    BOOST_TEST((state.use_slots(schedules.slots(Stage(s))) == StageState(config, grid, rank(s)).footprint()));
}

BOOST_AUTO_TEST_SUITE_END()
