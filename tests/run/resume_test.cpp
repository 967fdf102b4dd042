// A run that was stopped, killed or moved to other ranks goes on as if nothing had been.
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/run/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

void same_state(std::filesystem::path const& a, std::filesystem::path const& b) {
  for (char const* kind : {"weight", "m", "v"}) {
    auto const left = values_of(a, kind), right = values_of(b, kind);
    BOOST_TEST(!left.empty());
    BOOST_CHECK_MESSAGE(left == right, "another " << kind << " in " << b.string());
  }
}

void expect_close(std::map<std::int64_t, double> const& a, std::map<std::int64_t, double> const& b, double tolerance) {
  for (auto const& [step, loss] : b) {
    BOOST_TEST_REQUIRE(a.count(step) == 1u);
    BOOST_TEST(std::abs(loss / a.at(step) - 1) < tolerance, "step " << step << ": " << loss << " and " << a.at(step));
  }
}

/// What the steps of `run` say, all those of the whole run and to the bit.
void same_steps(Workplace const& work, std::string const& whole, std::string const& run) {
  auto const expected = work.steps(whole), got = work.steps(run);
  BOOST_TEST(got.size() == expected.size());
  for (auto const& [step, text] : expected)
    BOOST_TEST_REQUIRE((got.count(step) && got.at(step) == text),
                       "step " << step << ": " << text << " and " << (got.count(step) ? got.at(step) : "nothing"));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(resume)

BOOST_AUTO_TEST_CASE(a_resumed_run_equals_one_that_never_stopped) {
  Workplace const work;
  for (std::string const precision : {"fp32", "bf16", "fp8"}) {
    std::vector<std::string> const settings{"train.precision=" + precision, "train.valid_every=3",
                                            "train.valid_batches=1", "data.split=80,20,0"};
    auto const whole = work.pretrain("whole-" + precision, settings);
    BOOST_TEST_REQUIRE(whole.code == 0, whole.output);
    work.start_from("whole-" + precision, 8, "resumed-" + precision);
    auto const resumed = work.pretrain("resumed-" + precision, settings);
    BOOST_TEST_REQUIRE(resumed.code == 0, resumed.output);
    BOOST_TEST(contains(resumed.output, "after step 8 (64 samples)"), resumed.output);
    auto const expected = work.steps("whole-" + precision), got = work.steps("resumed-" + precision);
    BOOST_TEST(expected.size() == 12u);
    BOOST_TEST(got.size() == 4u);
    for (auto const& [step, text] : got) BOOST_TEST(text == expected.at(step));
    same_state(work.checkpoint("whole-" + precision, 12), work.checkpoint("resumed-" + precision, 12));
    if (precision == "fp8") {
      auto const amaxes = values_of(work.checkpoint("whole-fp8", 12), "amax");
      BOOST_TEST(!amaxes.empty());
      BOOST_TEST((amaxes == values_of(work.checkpoint("resumed-fp8", 12), "amax")));
    }
  }
}

BOOST_AUTO_TEST_CASE(data_ranks_train_alike_and_take_over_from_each_other) {
  Workplace const work;
  std::vector<std::string> const settings{"train.micro_batch=1"};
  for (int const ranks : {1, 2, 4}) {
    auto const result = work.pretrain(concat("ranks-", ranks), settings, ranks);
    BOOST_TEST_REQUIRE(result.code == 0, result.output);
  }
  BOOST_TEST(work.losses("ranks-1").size() == 12u);
  for (char const* run : {"ranks-2", "ranks-4"}) expect_close(work.losses("ranks-1"), work.losses(run), 1e-6);
  for (auto const& [from, to] : {std::pair{1, 2}, {4, 1}, {2, 4}}) {
    std::string const name = concat("moved-", from, "-", to);
    work.start_from(concat("ranks-", from), 4, name);
    auto const result = work.pretrain(name, settings, to);
    BOOST_TEST_REQUIRE(result.code == 0, result.output);
    BOOST_TEST(work.losses(name).size() == 8u);
    expect_close(work.losses("ranks-1"), work.losses(name), 1e-6);
  }
}

BOOST_AUTO_TEST_CASE(a_signal_saves_and_ends_and_the_same_command_goes_on) {
  Workplace const work;
  std::vector<std::string> const settings{"train.steps=150", "checkpoint.every=0"};
  BOOST_TEST_REQUIRE(work.pretrain("whole", settings).code == 0);
  for (int const number : {SIGTERM, SIGUSR1}) {
    std::string const name = concat("signal-", number);
    Program program(work.command(name, settings), work / (name + ".out"));
    BOOST_TEST_REQUIRE(wait_until(60, [&] { return work.steps(name).size() >= 10; }));
    program.signal(number);
    int const code = program.wait();
    BOOST_TEST(code == 0, program.output());
    std::string const record = read_file(work / name / "run.json");
    BOOST_TEST(contains(record, "\"result\": \"stopped\""), record);
    BOOST_TEST(contains(program.output(), "start the same command again to go on"), program.output());
    BOOST_TEST(work.steps(name).size() < 150u);
    auto const result = work.pretrain(name, settings);
    BOOST_TEST(result.code == 0, result.output);
    BOOST_TEST(contains(read_file(work / name / "run.json"), "\"result\": \"finished\""));
    same_steps(work, "whole", name);
    same_state(work.checkpoint("whole", 150), work.checkpoint(name, 150));
  }
}

// SELENITE_TEST_KILLS=50 for the long form, which has a CTest entry of its own.
BOOST_AUTO_TEST_CASE(a_signal_before_the_first_step_stops_the_run_too) {
  Workplace const work;
  // mpirun passes SIGUSR1 on, but ends the ranks itself at SIGTERM
  for (auto const& [ranks, number] : {std::pair{1, SIGTERM}, {2, SIGUSR1}}) {
    std::string const name = concat("early-", ranks);
    auto const record = work / name / "run.json";
    Program program(work.command(name, {}, ranks), work / "early.out");
    BOOST_TEST_REQUIRE(wait_until(90, [&] { return contains(read_file(record), "\"running\""); }), program.output());
    program.signal(number);  // while the machine is measured, which takes a second
    BOOST_TEST(program.wait() == 0, program.output());
    BOOST_TEST(contains(read_file(record), "\"result\": \"stopped\""), read_file(record));
    BOOST_TEST(contains(program.output(), "Stopped before the first step"), program.output());
    BOOST_TEST(work.steps(name).empty());
  }
  auto const again = work.pretrain("early-1", {"train.steps=4"});
  BOOST_TEST(again.code == 0, again.output);
  BOOST_TEST(work.steps("early-1").size() == 4u);
}

BOOST_AUTO_TEST_CASE(a_killed_run_goes_on_with_the_same_losses) {
  Workplace const work;
  char const* const wanted = std::getenv("SELENITE_TEST_KILLS");
  int const kills = wanted ? std::atoi(wanted) : 8;
  std::vector<std::string> const settings{"train.steps=200", "checkpoint.every=2", "checkpoint.keep=2"};
  BOOST_TEST_REQUIRE(work.pretrain("whole", settings).code == 0);
  std::mt19937 random(static_cast<unsigned>(kills));
  int killed = 0, resumed = 0;
  for (int run = 0; killed < kills && run < 10 * kills; ++run) {
    std::string const name = concat("killed-", run);
    for (bool finished = false; !finished;) {
      Program program(work.command(name, settings), work / "killed.out");
      std::size_t const before = work.steps(name).size();
      bool const started =
          killed < kills && wait_until(60, [&] { return program.ended() || work.steps(name).size() != before; });
      if (started) pause_ms(static_cast<std::int64_t>(random() % 700));
      if (killed < kills && !program.ended()) program.signal(SIGKILL);
      int const code = program.wait();
      BOOST_TEST_REQUIRE((code == 0 || code == -SIGKILL), program.output());
      resumed += contains(program.output(), "Resumed from");
      finished = code == 0;
      killed += !finished;
    }
    same_steps(work, "whole", name);
    same_state(work.checkpoint("whole", 200), work.checkpoint(name, 200));
    std::filesystem::remove_all(work / name);
  }
  BOOST_TEST(killed == kills);
  BOOST_TEST(resumed >= kills / 2);
}

BOOST_AUTO_TEST_SUITE_END()
