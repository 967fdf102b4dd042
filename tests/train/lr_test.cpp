#include "train/lr.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>

using namespace selenite;

namespace {
// batch 10, warm-up over 100 samples, decay until 1100
TrainConfig config(LrSchedule schedule) {
  TrainConfig t;
  t.global_batch = 10, t.warmup = 100, t.lr_decay = 1100, t.samples = 2000;
  t.lr = 1e-2, t.min_lr = 1e-3, t.lr_schedule = schedule;
  return t;
}
}  // namespace

BOOST_AUTO_TEST_SUITE(schedules, *boost::unit_test::tolerance(1e-12))

BOOST_AUTO_TEST_CASE(warm_up_counts_the_steps_own_samples) {
  for (LrSchedule s : {LrSchedule::constant, LrSchedule::linear, LrSchedule::cosine, LrSchedule::inverse_sqrt}) {
    BOOST_TEST(learning_rate(config(s), 0) == 1e-3);
    BOOST_TEST(learning_rate(config(s), 40) == 5e-3);
    BOOST_TEST(learning_rate(config(s), 90) == 1e-2);
  }
}

BOOST_AUTO_TEST_CASE(each_schedule_falls_as_its_name_says) {
  BOOST_TEST(learning_rate(config(LrSchedule::constant), 100000) == 1e-2);
  // half way (600 of 100..1100) both are in the middle of 1e-2 and 1e-3
  BOOST_TEST(learning_rate(config(LrSchedule::linear), 590) == 5.5e-3);
  BOOST_TEST(learning_rate(config(LrSchedule::cosine), 590) == 5.5e-3);
  // a quarter: linear 1e-3 + 0.75 * 9e-3; cosine 1e-3 + (1 + cos 45 degrees) / 2 * 9e-3
  BOOST_TEST(learning_rate(config(LrSchedule::linear), 340) == 7.75e-3);
  BOOST_TEST(learning_rate(config(LrSchedule::cosine), 340) == 1e-3 + (1 + std::sqrt(0.5)) / 2 * 9e-3);
  // inverse square root: half of the peak at four times the warm-up, never below the floor
  BOOST_TEST(learning_rate(config(LrSchedule::inverse_sqrt), 390) == 5e-3);
  BOOST_TEST(learning_rate(config(LrSchedule::inverse_sqrt), 1000000) == 1e-3);
  for (LrSchedule s : {LrSchedule::linear, LrSchedule::cosine}) {
    BOOST_TEST(learning_rate(config(s), 1090) == 1e-3);
    BOOST_TEST(learning_rate(config(s), 5000) == 1e-3);
  }
}

BOOST_AUTO_TEST_CASE(without_warm_up_the_first_step_has_nearly_the_whole_rate) {
  TrainConfig t = config(LrSchedule::linear);
  t.warmup = 0, t.lr_decay = 1000;
  BOOST_TEST(learning_rate(t, 0) == 1e-3 + 0.99 * 9e-3);
}

BOOST_AUTO_TEST_CASE(weight_decay_goes_from_its_start_to_its_end) {
  TrainConfig t = config(LrSchedule::cosine);
  t.weight_decay = 0.1, t.weight_decay_end = 0.5;
  BOOST_TEST(weight_decay(t, 500) == 0.1);
  t.weight_decay_schedule = DecaySchedule::linear;
  BOOST_TEST(weight_decay(t, 490) == 0.2);  // a quarter of 2000 samples
  BOOST_TEST(weight_decay(t, 1990) == 0.5);
  BOOST_TEST(weight_decay(t, 9990) == 0.5);
  t.weight_decay_schedule = DecaySchedule::cosine;
  BOOST_TEST(weight_decay(t, 490) == 0.1 + 0.4 * (1 - std::sqrt(0.5)) / 2);
  BOOST_TEST(weight_decay(t, 990) == 0.3);
}

BOOST_AUTO_TEST_SUITE_END()
