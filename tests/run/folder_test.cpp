// A run folder belongs to one training, and to one job at a time.
#include <boost/test/unit_test.hpp>

#include "tests/run/support.hpp"

using namespace selenite;
using namespace selenite::test;

BOOST_AUTO_TEST_SUITE(folder)

BOOST_AUTO_TEST_CASE(a_new_training_does_not_begin_among_the_checkpoints_of_another) {
  Workplace const work;
  BOOST_TEST_REQUIRE(work.pretrain("run", {}).code == 0);
  auto const before = values_of(work.checkpoint("run", 12), "weight");
  std::string const metrics = read_file(work / "run" / "metrics.jsonl");
  auto const refused = work.pretrain("run", {"checkpoint.resume=false", "train.seed=77"});
  BOOST_TEST(refused.code == 1, refused.output);
  BOOST_TEST(contains(refused.output, "step-00000012, would mix with the new ones"), refused.output);
  BOOST_TEST(contains(refused.output, "Use another run.folder"), refused.output);
  BOOST_CHECK(values_of(work.checkpoint("run", 12), "weight") == before);
  BOOST_TEST(read_file(work / "run" / "metrics.jsonl") == metrics);
  std::filesystem::remove_all(work / "run" / "checkpoints");
  auto const anew = work.pretrain("run", {"checkpoint.resume=false", "train.seed=77"});
  BOOST_TEST(anew.code == 0, anew.output);
  BOOST_TEST(!contains(anew.output, "Resumed"), anew.output);
}

BOOST_AUTO_TEST_CASE(two_jobs_do_not_share_a_folder) {
  Workplace const work;
  std::string const shared = "checkpoint.folder=" + (work / "shared").string();
  std::vector<std::string> const settings{"train.steps=50000", "checkpoint.every=5", "checkpoint.keep=2", shared};
  Program first(work.command("run", settings, 2), work / "first.out");
  BOOST_TEST_REQUIRE(wait_until(90, [&] { return work.steps("run").size() >= 3; }), first.output());
  std::string const record = read_file(work / "run" / "run.json");
  for (int const ranks : {1, 2}) {
    auto const second = work.pretrain("run", {"train.steps=4"}, ranks);
    BOOST_TEST(second.code == 1, second.output);
    BOOST_TEST(contains(second.output, "Another job is at work in " + (work / "run").string() + " (process "),
               second.output);
  }
  auto const threads = work.pretrain("run", {"train.steps=4", "run.comm=threads", "layout.data=2"});
  BOOST_TEST(threads.code == 1, threads.output);
  BOOST_TEST(contains(threads.output, "Another job is at work in "), threads.output);
  auto const elsewhere = work.pretrain("elsewhere", {"train.steps=4", shared});
  BOOST_TEST(elsewhere.code == 1, elsewhere.output);
  BOOST_TEST(contains(elsewhere.output, "Another job is at work in " + (work / "shared").string()), elsewhere.output);
  BOOST_TEST(read_file(work / "run" / "run.json") == record);
  BOOST_TEST(!contains(read_file(work / "run" / "log.txt"), "Another job"));
  for (pid_t const rank : first.children()) kill(rank, SIGKILL);
  first.wait();
  auto const next = work.pretrain("run", {"train.steps=4", shared});  // the lock went with the process
  BOOST_TEST(!contains(next.output, "Another job"), next.output);
}

BOOST_AUTO_TEST_CASE(processes_that_are_whole_runs_each_do_not_share_one_either) {
  Workplace const work;
  auto const two = work.pretrain("run", {"run.comm=self", "train.steps=50000"}, 2);
  BOOST_TEST(two.code != 0, two.output);
  BOOST_TEST(contains(two.output, "Another job is at work in "), two.output);
}

BOOST_AUTO_TEST_CASE(the_folder_of_the_run_may_hold_the_checkpoints) {
  Workplace const work;
  auto const run = work.pretrain("run", {"train.steps=4", "checkpoint.folder=" + (work / "run").string()});
  BOOST_TEST(run.code == 0, run.output);
}

BOOST_AUTO_TEST_SUITE_END()
