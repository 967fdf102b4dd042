// What a run says of itself: whose memory, and what its steps took.
#include "run/statistics.hpp"

#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>

#include "core/config.hpp"

using namespace selenite;
using Json = nlohmann::json;

namespace {

Config config_of(std::vector<std::string> settings, std::int64_t ranks) {
  settings.insert(settings.end(), {"model.layers=4", "model.hidden=32", "model.heads=2", "model.vocab_size=3000",
                                   "model.sequence_length=32", "train.global_batch=8", "train.steps=20"});
  return resolve(parse_config("", settings, "test"), ranks);
}

Json summary_of(Statistics const& statistics) { return Json::parse(statistics.summary().text()); }

}  // namespace

BOOST_AUTO_TEST_SUITE(statistics)

BOOST_AUTO_TEST_CASE(memory_is_that_of_the_rank_that_holds_most) {
  Config const config = config_of({"layout.pipe=2", "layout.stages=1,3", "model.tied_embeddings=false"}, 2);
  Plan const plan = make_plan(config, make_grid(config.layout), Rank(0), nullptr);
  BOOST_TEST_REQUIRE(plan.fullest() == 1u);
  Machine const machine;
  Statistics statistics(config, plan, machine);
  statistics.add({}, 8, {}, 1, 0);
  std::int64_t sum = 0;
  Json const memory = summary_of(statistics).at("memory_bytes");
  for (auto const& [label, bytes] : memory.items()) sum += bytes.get<std::int64_t>();
  BOOST_TEST(sum == plan.stages[1].footprint.total());
  BOOST_TEST(sum > plan.footprint.total());
}

BOOST_AUTO_TEST_SUITE_END()
