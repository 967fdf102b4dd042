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

// The first three steps warm up; a batch that grows makes another step.
BOOST_AUTO_TEST_CASE(causes_are_of_the_steps_that_the_step_time_counts) {
  Config const config = config_of({}, 1);
  Plan const plan = make_plan(config, make_grid(config.layout), Rank(0), nullptr);
  Machine const machine;
  Statistics statistics(config, plan, machine);
  Progress at;
  auto const step = [&](std::int64_t batch, double seconds, double gemm) {
    ++at.step;
    statistics.add(at, batch, {}, seconds, 0.25 * seconds);
    statistics.add_times(at.step, {gemm});
  };
  auto const check = [&](double seconds, double gemm) {
    Json const summary = summary_of(statistics);
    BOOST_TEST(summary.at("step_seconds") == seconds);
    double sum = 0;
    for (auto const& [cause, x] : summary.at("time_seconds").items()) sum += x.get<double>();
    BOOST_TEST(summary.at("time_seconds").at("gemm") == gemm);
    BOOST_TEST(sum == seconds, boost::test_tools::tolerance(1e-12));
  };
  for (int i = 0; i < 3; ++i) step(4, 16, 8);
  check(16, 8);  // there are no others
  for (int i = 0; i < 3; ++i) step(4, 4, 2);
  check(4, 2);
  step(8, 8, 3);
  statistics.add_times(at.step - 1, {100});  // a device's, known late
  check(8, 3);
  Json const line = Json::parse(statistics.metrics().text());
  BOOST_TEST(line.at("timed_step") == at.step - 1);
  BOOST_TEST(line.at("data_seconds") == 2);
}

BOOST_AUTO_TEST_SUITE_END()
