// Ranks that are threads of one process, as the executable starts them with run.comm = "threads".
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "tests/run/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

std::vector<std::string> const two_by_two{"run.comm=threads", "layout.data=2", "layout.pipe=2"};

void same(std::map<std::int64_t, double> const& a, std::map<std::int64_t, double> const& b, std::string const& what) {
  BOOST_TEST(!b.empty());
  for (auto const& [step, loss] : b) {
    BOOST_TEST_REQUIRE(a.count(step) == 1u);
    BOOST_TEST(std::abs(loss / a.at(step) - 1) < 1e-5, what << " step " << step << ": " << loss << " " << a.at(step));
  }
}
void same_losses(Workplace const& work, std::string const& one, std::string const& other) {
  same(work.losses(one), work.losses(other), other);
  same(work.valid_losses(one), work.valid_losses(other), other + ", validation");
}

}  // namespace

BOOST_AUTO_TEST_SUITE(thread_ranks)

BOOST_AUTO_TEST_CASE(they_train_like_one_rank_and_hand_over_to_it) {
  Workplace const work;
  std::vector<std::string> const common{"train.valid_every=6", "train.valid_batches=2", "data.split=80,20,0"};
  auto const one = work.pretrain("one", common);
  BOOST_TEST_REQUIRE(one.code == 0, one.output);
  auto const four = work.pretrain("four", with(common, two_by_two));
  BOOST_TEST_REQUIRE(four.code == 0, four.output);
  BOOST_TEST(contains(read_file(work / "four" / "run.json"), "\"ranks\": 4"));
  BOOST_TEST(work.losses("four").size() == 12u);
  same_losses(work, "one", "four");
  work.start_from("four", 8, "handed-over");
  auto const resumed = work.pretrain("handed-over", common);
  BOOST_TEST_REQUIRE(resumed.code == 0, resumed.output);
  BOOST_TEST(work.losses("handed-over").size() == 4u);
  same_losses(work, "one", "handed-over");
  work.start_from("one", 4, "taken-over");
  auto const taken = work.pretrain("taken-over", with(common, two_by_two));
  BOOST_TEST_REQUIRE(taken.code == 0, taken.output);
  same_losses(work, "one", "taken-over");
}

BOOST_AUTO_TEST_CASE(every_layout_validates_alike) {
  Workplace const work;
  std::vector<std::string> const common{"train.valid_every=2", "train.valid_batches=2", "data.split=60,40,0",
                                        "train.steps=4", "checkpoint.every=0"};
  BOOST_TEST_REQUIRE(work.pretrain("one", common).code == 0);
  BOOST_TEST(work.valid_losses("one").size() == 2u);
  std::vector<std::vector<std::string>> const layouts{
      {"layout.tensor=2", "layout.sequence_parallel=true", "layout.data=2"},
      {"layout.context=2", "layout.pipe=2"},
      {"layout.pipe=2", "layout.interleave=2", "layout.schedule=interleaved", "model.layers=4"},
      {"layout.tensor=2", "layout.context=2", "layout.pipe=2"}};
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    bool const deeper = i == 2;
    std::string const name = concat("layout-", i), one = deeper ? "one-deeper" : "one";
    if (deeper) BOOST_TEST_REQUIRE(work.pretrain(one, with(common, {"model.layers=4"})).code == 0);
    auto const run = work.pretrain(name, with(with(common, layouts[i]), {"run.comm=threads"}));
    BOOST_TEST_REQUIRE(run.code == 0, run.output);
    same_losses(work, one, name);
  }
}

// Every step saves, from four I/O threads of one process: their HDF5 calls must not meet.
BOOST_AUTO_TEST_CASE(their_saves_are_whole) {
  Workplace const work;
  auto const run = work.pretrain("run", {"run.comm=threads", "layout.data=4", "checkpoint.every=1", "checkpoint.keep=0",
                                         "train.optimizer_sharding=1", "train.steps=20"});
  BOOST_TEST_REQUIRE(run.code == 0, run.output);
  IoThread io;
  for (int step = 1; step <= 20; ++step) {
    CheckpointReader reader(io, work.checkpoint("run", step));
    BOOST_CHECK_NO_THROW(reader.check_bytes());
  }
}

BOOST_AUTO_TEST_CASE(an_error_is_shown_once_with_its_rank) {
  Workplace const work;
  auto const refused = work.pretrain("refused", with({"model.heads=5"}, two_by_two));
  BOOST_TEST(refused.code == 1, refused.output);
  BOOST_TEST(contains(refused.output, "model.heads = 5 does not divide"), refused.output);
  std::vector<std::string> const diverges{"train.optimizer=sgd", "train.lr=1e6", "train.min_lr=1e6",
                                          "train.warmup=0",      "train.clip=0", "train.steps=50"};
  auto const failed = work.pretrain("failed", with(diverges, two_by_two));
  BOOST_TEST(failed.code == 1, failed.output);
  BOOST_TEST(contains(failed.output, "selenite-pretrain: [rank "), failed.output);
  BOOST_TEST(contains(failed.output, " data "), failed.output);
  BOOST_TEST(contains(failed.output, "is not finite"), failed.output);
  for (std::string const& output : {refused.output, failed.output}) {
    auto const at = output.find("selenite-pretrain: ");
    BOOST_TEST(output.find("selenite-pretrain: ", at + 1) == output.npos, output);
    BOOST_TEST(!contains(output, "was stopped"), output);
  }
  std::string const record = read_file(work / "failed" / "run.json");
  BOOST_TEST(contains(record, "\"result\": \"failed\""), record);
  BOOST_TEST(contains(record, "is not finite"), record);
}

BOOST_AUTO_TEST_CASE(a_signal_stops_them_with_a_save) {
  Workplace const work;
  Program program(work.command("run", with({"train.steps=50000", "checkpoint.every=0"}, two_by_two)), work / "run.out");
  BOOST_TEST_REQUIRE(wait_until(90, [&] { return work.steps("run").size() >= 3; }), program.output());
  program.signal(SIGTERM);
  BOOST_TEST(program.wait() == 0, program.output());
  std::string const record = read_file(work / "run" / "run.json");
  BOOST_TEST(contains(record, "\"result\": \"stopped\""), record);
  auto const step = static_cast<std::int64_t>(work.steps("run").size());
  BOOST_TEST(!values_of(work.checkpoint("run", step), "weight").empty());
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(processes)

// All axes at once over MPI, with the quick start's model, whose messages are too large to be sent before they are
// awaited.
BOOST_AUTO_TEST_CASE(thirty_two_train_like_one, *boost::unit_test::disabled()) {
  Workplace const work;
  std::vector<std::string> const model{"model.layers=6",
                                       "model.hidden=320",
                                       "model.heads=4",
                                       "model.vocab_size=8192",
                                       "model.sequence_length=256",
                                       "train.steps=3",
                                       "checkpoint.every=0",
                                       "checkpoint.save_at_end=false"};
  BOOST_TEST_REQUIRE(work.pretrain("one", with(model, {"train.micro_batch=8"})).code == 0);
  auto const many = work.pretrain("thirty-two",
                                  with(model, {"layout.tensor=2", "layout.context=2", "layout.pipe=4", "layout.data=2",
                                               "layout.sequence_parallel=true", "train.optimizer_sharding=1"}),
                                  32);
  BOOST_TEST_REQUIRE(many.code == 0, many.output);
  BOOST_TEST(work.losses("thirty-two").size() == 3u);
  same(work.losses("one"), work.losses("thirty-two"), "thirty-two");
}

// A group of more micro-batches than stages has several messages on the way from a stage.
BOOST_AUTO_TEST_CASE(every_pipeline_passes_large_messages) {
  Workplace const work;
  std::vector<std::string> const model{
      "model.layers=6",      "model.hidden=256",   "model.sequence_length=128",    "train.steps=2",
      "train.micro_batch=1", "checkpoint.every=0", "checkpoint.save_at_end=false", "run.watchdog=60"};
  BOOST_TEST_REQUIRE(work.pretrain("one", model).code == 0);
  for (auto const& more : std::vector<std::vector<std::string>>{{"layout.schedule=zero_bubble_h2"},
                                                                {"layout.interleave=3"},
                                                                {"layout.interleave=3", "layout.interleave_group=5"},
                                                                {"layout.interleave=3", "layout.interleave_group=8"}}) {
    std::filesystem::remove_all(work / "two");
    auto const two = work.pretrain("two", with(with(model, {"layout.pipe=2"}), more), 2);
    BOOST_TEST_REQUIRE(two.code == 0, two.output);
    same(work.losses("one"), work.losses("two"), "two");
  }
}

BOOST_AUTO_TEST_SUITE_END()
