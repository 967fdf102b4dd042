#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/train/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

TrainConfig scaled(std::int64_t window, std::int64_t hysteresis) {
  TrainConfig t;
  t.precision = Precision::fp16, t.loss_scale = 0, t.loss_scale_initial = 64;
  t.loss_scale_window = window, t.loss_scale_hysteresis = hysteresis;
  return t;
}
/// The scale after each step: 'o' overflows, '.' does not.
std::vector<double> scales(TrainConfig const& t, std::string const& steps) {
  LossScale scale = LossScale::initial(t);
  std::vector<double> all;
  for (char step : steps) scale.see(t, step == 'o'), all.push_back(scale.scale);
  return all;
}

std::vector<std::string> const small_fp16{"model.layers=2",      "model.hidden=32",          "model.heads=2",
                                          "model.vocab_size=61", "model.sequence_length=32", "train.global_batch=8",
                                          "train.micro_batch=2", "train.steps=100",          "train.lr=3e-3"};
Config fp16_config(std::vector<std::string> const& more) {
  auto settings = small_fp16;
  settings.insert(settings.end(), more.begin(), more.end());
  return config_of(settings);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(loss_scale)

BOOST_AUTO_TEST_CASE(it_doubles_after_a_window_and_halves_when_the_tolerance_is_used_up) {
  using List = std::vector<double>;
  BOOST_TEST(scales(scaled(3, 1), "...o..o...") == (List{64, 64, 128, 64, 64, 64, 32, 32, 32, 64}),
             boost::test_tools::per_element());
  // the tolerance comes back when the scale grows, not with every step without overflow
  BOOST_TEST(scales(scaled(2, 2), "o.o..o.oo") == (List{64, 64, 32, 32, 64, 64, 64, 32, 16}),
             boost::test_tools::per_element());
  BOOST_TEST(scales(scaled(9, 1), "oooooooo").back() == 1.0);
  TrainConfig constant = scaled(1, 1);
  constant.loss_scale = 8;
  BOOST_TEST(scales(constant, "..o.") == (List{8, 8, 8, 8}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(it_survives_in_a_checkpoint) {
  Progress const before{.step = 7,
                        .consumed = 56,
                        .skipped_steps = 3,
                        .skipped_samples = 24,
                        .loss_scale = {.scale = 4194304, .finite_steps = 4, .tolerance = 1}};
  Progress after{.step = 7, .consumed = 56};
  after.read_notes(before.notes());
  BOOST_TEST((after == before));
  Progress old = Progress::initial(scaled(1000, 2));
  old.read_notes({});  // a checkpoint of a version without
  BOOST_TEST((old == Progress::initial(scaled(1000, 2))));
}

// From 2^40 on gradients overflow until the scale has fallen far enough: those steps change nothing, and the training
// is then the one that began with the scale that works.
BOOST_AUTO_TEST_CASE(steps_whose_gradients_overflow_are_skipped) {
  Config const high = fp16_config({"train.precision=fp16", "train.loss_scale_initial=1099511627776"});
  OneRank rank(high);
  Progress at = Progress::initial(high.train);
  double last_scale = at.loss_scale.scale;
  std::vector<float> const weights(rank.stage().master.data<float>(),
                                   rank.stage().master.data<float>() + rank.stage().master.count());
  while (at.skipped_steps == at.step && at.step < 100) {
    bool const same = std::equal(weights.begin(), weights.end(), rank.stage().master.data<float>());
    BOOST_TEST(same);
    last_scale = at.loss_scale.scale;
    StepResult const r = train_step(rank.ctx(), rank.stage(), at, toy_loader(high, 1));
    BOOST_TEST(std::isfinite(r.loss));
    BOOST_TEST(r.skipped != std::isfinite(r.grad_norm));
    BOOST_TEST(r.loss_scale == last_scale);
  }
  BOOST_TEST_REQUIRE(at.step > 5);
  BOOST_TEST(at.skipped_steps == at.step - 1);
  BOOST_TEST(at.skipped_samples == 8 * at.skipped_steps);
  BOOST_TEST(std::ldexp(1.0, 40) / last_scale == std::ldexp(1.0, static_cast<int>(at.skipped_steps) - 1));

  Config const low = fp16_config({"train.precision=fp16", concat("train.loss_scale_initial=", last_scale)});
  OneRank fresh(low);
  Progress first = Progress::initial(low.train);
  train_step(fresh.ctx(), fresh.stage(), first, toy_loader(low, 1));
  bool const same_bits =
      std::equal(fresh.stage().master.data<float>(), fresh.stage().master.data<float>() + fresh.stage().master.count(),
                 rank.stage().master.data<float>());
  BOOST_TEST(same_bits);
}

BOOST_AUTO_TEST_CASE(fp16_learns_what_fp32_learns) {
  OneRank half(fp16_config({"train.precision=fp16", "train.loss_scale_initial=65536"})),
      single(fp16_config({"train.precision=fp32"}));
  auto const a = toy_losses(half, 40), b = toy_losses(single, 40);
  BOOST_TEST(a.back() < 0.9 * a.front());
  for (std::size_t i = 0; i < a.size(); ++i)
    BOOST_TEST(std::abs(a[i] / b[i] - 1) < 2e-3, i << ": " << a[i] << " " << b[i]);
}

// A scale that the config sets is not lowered in silence.
BOOST_AUTO_TEST_CASE(a_constant_scale_that_overflows_is_an_error) {
  Config const c = fp16_config({"train.precision=fp16", "train.loss_scale=1e30"});
  OneRank rank(c);
  BOOST_CHECK_THROW(rank.step(1, toy_loader(c, 1)), Error);
}

BOOST_AUTO_TEST_SUITE_END()
