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

BOOST_AUTO_TEST_SUITE_END()
