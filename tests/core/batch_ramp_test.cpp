#include "core/batch_ramp.hpp"

#include <boost/test/unit_test.hpp>

#include "core/error.hpp"

using namespace selenite;

namespace {

TrainConfig config(std::string const& ramp, std::int64_t global_batch) {
  TrainConfig t;
  t.batch_ramp = ramp, t.global_batch = global_batch;
  return t;
}
std::string ramp_refusal(std::string const& ramp, std::int64_t global_batch) {
  try {
    BatchRamp const made(config(ramp, global_batch));
  } catch (Error const& e) {
    return e.what();
  }
  return "";
}

}  // namespace

BOOST_AUTO_TEST_SUITE(batch_ramp)

BOOST_AUTO_TEST_CASE(without_one_every_step_has_the_global_batch) {
  BatchRamp const ramp(config("", 8));
  BOOST_TEST(ramp.batch(0) == 8);
  BOOST_TEST(ramp.batch(1'000'000) == 8);
  BOOST_TEST(ramp.samples(5) == 40);
  BOOST_TEST(ramp.steps(41) == 6);
}

// Batch 4 until 10 samples are taken: steps at 0, 4, 8; then 6 until 20: at 12, 18; then 8.
BOOST_AUTO_TEST_CASE(a_step_takes_the_batch_of_the_samples_before_it) {
  for (char const* text : {"0:4 10:6 20:8", "0:4,10:6,20:8"}) {
    BatchRamp const ramp(config(text, 8));
    std::int64_t consumed = 0;
    std::vector<std::int64_t> const batches{4, 4, 4, 6, 6, 8, 8};
    for (std::size_t step = 0; step < batches.size(); ++step) {
      BOOST_TEST(ramp.samples(static_cast<std::int64_t>(step)) == consumed);
      BOOST_TEST(ramp.steps(consumed) == static_cast<std::int64_t>(step));
      BOOST_TEST(ramp.steps(consumed + 1) == static_cast<std::int64_t>(step) + 1);
      BOOST_TEST(ramp.batch(consumed) == batches[step]);
      consumed += batches[step];
    }
  }
}

BOOST_AUTO_TEST_CASE(a_part_that_a_large_batch_jumps_over_has_no_step) {
  BatchRamp const ramp(config("0:16 2:4 10:8", 8));
  BOOST_TEST(ramp.batch(16) == 8);
  BOOST_TEST(ramp.samples(2) == 24);
  BOOST_TEST(ramp.steps(24) == 2);
}

BOOST_AUTO_TEST_CASE(what_makes_no_sense_is_refused) {
  BOOST_TEST(ramp_refusal("0:16 1000:32", 8).find("ends with a batch of 32 but train.global_batch = 8") !=
             std::string::npos);
  BOOST_TEST(ramp_refusal("5:8", 8).find("the first is from 0") != std::string::npos);
  BOOST_TEST(ramp_refusal("0:4 9:6 9:8", 8).find("in order") != std::string::npos);
  BOOST_TEST(ramp_refusal("0:0", 8).find("at least one sample") != std::string::npos);
  BOOST_TEST(ramp_refusal("0-8", 8).find("a colon") != std::string::npos);
  BOOST_TEST(!ramp_refusal("0:x", 8).empty());
}

BOOST_AUTO_TEST_CASE(resolve_counts_steps_and_samples_by_it) {
  std::vector<std::string> const ramp{"train.batch_ramp=0:4 10:8", "train.global_batch=8"};
  auto with = [&](std::string const& more) {
    auto settings = ramp;
    settings.push_back(more);
    return resolve(parse_config("", settings, "t"), 1).train;
  };
  BOOST_TEST(with("train.steps=5").samples == 3 * 4 + 2 * 8);
  BOOST_TEST(with("train.samples=13").steps == 4);
  BOOST_CHECK_THROW(resolve(parse_config("", {ramp[0], ramp[1], "train.micro_batch=8"}, "t"), 1), Error);
}

BOOST_AUTO_TEST_SUITE_END()
