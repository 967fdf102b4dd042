#include "train/balance.hpp"

#include <boost/test/unit_test.hpp>

#include "schedule/stages.hpp"
#include "tests/train/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

Config world_config(std::vector<std::string> const& more, std::int64_t world = 1) {
  std::vector<std::string> all{"model.layers=10",       "model.hidden=64",          "model.heads=4",
                               "model.vocab_size=1000", "model.sequence_length=32", "train.global_batch=8",
                               "train.micro_batch=2",   "model.attention=matrix"};
  all.insert(all.end(), more.begin(), more.end());
  return resolve(parse_config("", all, "test"), world);
}

std::string layers(std::vector<std::string> const& more, std::int64_t world, std::int64_t chunks) {
  return stages_text(chunk_layers(world_config(more, world), chunks));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(balance)

// By the papers' counts: forward 24 b s h^2 + 4 b s^2 h a layer, 2 b s h V the head, backward twice as much.
BOOST_AUTO_TEST_CASE(costs_are_the_known_formulas) {
  double const b = 2, s = 32, h = 64, padded = 1024;
  LayerCosts const plain = layer_costs(world_config({}));
  BOOST_TEST(plain.block == 3 * (24 * b * s * h * h + 4 * b * s * s * h));
  BOOST_TEST(plain.embedding == 0);
  BOOST_TEST(plain.head == 3 * 2 * b * s * h * padded);
  LayerCosts const again = layer_costs(world_config({"train.recompute=full", "train.recompute_layers=2"}));
  BOOST_TEST(again.block == plain.block / 3 * 4);
  BOOST_TEST(again.head == plain.head);
}

// The head costs 1.2 blocks.
BOOST_AUTO_TEST_CASE(the_last_stage_has_fewer_layers) {
  BOOST_TEST(layers({"layout.pipe=2"}, 2, 2) == "5,5");
  BOOST_TEST(layers({"layout.pipe=2", "layout.stages=auto"}, 2, 2) == "6,4");
  BOOST_TEST(layers({"layout.pipe=4", "layout.stages=auto"}, 4, 4) == "3,3,3,1");
  BOOST_TEST(layers({"layout.pipe=2", "layout.interleave=2", "layout.stages=auto"}, 2, 4) == "3,3,3,1");
  BOOST_TEST(layers({"layout.pipe=1", "layout.stages=auto"}, 1, 1) == "10");
  // a vocabulary that is nothing
  BOOST_TEST(layers({"layout.pipe=2", "layout.stages=auto", "model.vocab_size=8", "model.vocab_multiple=1"}, 2, 2) ==
             "5,5");
}

BOOST_AUTO_TEST_CASE(the_split_does_not_depend_on_the_rest_of_the_layout) {
  for (char const* more : {"layout.tensor=2", "layout.data=2", "train.precision=fp32"})
    BOOST_TEST(layers({"layout.pipe=4", "layout.stages=auto", more}, std::string(more).starts_with("layout") ? 8 : 4,
                      4) == "3,3,3,1");
  BOOST_TEST(layers({"layout.pipe=4", "layout.stages=auto", "layout.context=2", "model.attention=flash"}, 8, 4) ==
             "3,3,3,1");
  BOOST_TEST(layers({"layout.pipe=4", "layout.stages=auto", "layout.tensor=2", "layout.sequence_parallel=true",
                     "train.optimizer_sharding=2", "layout.data=2"},
                    16, 4) == "3,3,3,1");
}

// What the plan walks is what was balanced: no stage executes more FLOPs than any other split's slowest would.
BOOST_AUTO_TEST_CASE(planned_stages_are_balanced) {
  auto most = [](std::string const& stages) {
    Config const c = world_config({"layout.pipe=3", "layout.stages=" + stages, "model.layers=6"}, 3);
    double flops = 0;
    for (StagePlan const& stage : make_plan(c, make_grid(c.layout), Rank(0), nullptr).stages)
      flops = std::max(flops, stage.step.flops);
    return flops;
  };
  double const automatic = most("auto");
  for (char const* stages : {"2,2,2", "3,2,1", "2,3,1", "1,2,3", "4,1,1"}) BOOST_TEST(automatic <= most(stages));
  BOOST_TEST(automatic < most("2,2,2"));
}

BOOST_AUTO_TEST_CASE(texts_that_do_not_fit_are_refused) {
  BOOST_CHECK_THROW(layers({"layout.pipe=2", "layout.stages=3,4"}, 2, 2), Error);
  BOOST_CHECK_THROW(layers({"layout.pipe=2", "layout.stages=automatic"}, 2, 2), Error);
}

BOOST_AUTO_TEST_SUITE_END()
