// What selenite-evaluate and selenite-sweep say of checkpoints and studies that are not there, and of plans.
#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace fs = std::filesystem;

BOOST_AUTO_TEST_SUITE(evaluate)

BOOST_AUTO_TEST_CASE(a_checkpoint_that_is_missing_or_damaged_is_named) {
  Desk const desk;
  desk.fails("evaluate", {"none"}, {"no none ", "no such file"});
  fs::create_directories("run/checkpoints");
  desk.fails("evaluate", {"run"}, {"no whole checkpoint in run/checkpoints"});
  desk.fails("evaluate", {"run", "--print-config"}, {"no whole checkpoint in run/checkpoints"});
  fs::create_directories("damaged");
  write_file("damaged/index.h5", "no HDF5");
  desk.fails("evaluate", {"damaged"}, {"damaged"});
  write_file("file", "");
  desk.fails("evaluate", {"file"}, {"file"});
  fs::create_symlink("loop", "loop");  // what the system doesn't let us look at
  desk.fails("evaluate", {"loop"}, {"Cannot look at loop (", "symbolic links"});
  fs::create_directories("locked");
  fs::create_symlink("checkpoints", "locked/checkpoints");
  desk.fails("evaluate", {"locked"}, {"Cannot look at locked/checkpoints ("});
}

BOOST_AUTO_TEST_CASE(options_without_sense_are_refused) {
  Desk const desk;
  for (std::string const value : {"-0.5", "nan", "inf"})
    desk.fails("evaluate", {"run", "--temperature=" + value}, {"--temperature = " + value, "is out of range"});
  for (std::string const name : {"--text", "--prompt", "--output"})
    desk.fails("evaluate", {"run", name, ""}, {name + " is empty"});
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(sweep)

BOOST_AUTO_TEST_CASE(a_plan_lists_points_and_why_some_cannot_run) {
  Desk const desk;
  write_file("base.toml", "[model]\nlayers = 2\nhidden = 64\nheads = 2\n[data]\ntrain = [\"corpus\"]\n");
  write_file("study.toml",
             "[study]\nname = \"heads\"\nbase = \"base.toml\"\nrepeats = 2\n[set]\n\"train.steps\" = 5\n"
             "[axes]\n\"model.heads\" = [1, 2, 5]\n");
  std::string const plan = desk.succeeds("sweep", {"plan", "study.toml"});
  BOOST_TEST(contains(plan, "Study heads: 2 points, 2 repeats each"), plan);
  BOOST_TEST(contains(plan, "1 point can't be run"), plan);
  BOOST_TEST(contains(plan, "model.heads = 5 does not divide model.hidden = 64"), plan);
  BOOST_TEST(desk.succeeds("sweep", {"run", "--dry-run", "study.toml"}) == plan);
  std::string const status = desk.succeeds("sweep", {"status", "study.toml", "--folder", "s"});
  BOOST_TEST(contains(status, "4 pending, 1 infeasible"), status);
  BOOST_TEST(!fs::exists("s"));
  BOOST_TEST(!fs::exists("study-heads"));
  desk.fails("sweep", {"report", "study.toml"}, {"no study folder study-heads"});
  desk.fails("sweep", {"run", "study.toml", "--program", "none"}, {"no program none"});
}

BOOST_AUTO_TEST_CASE(commands_of_a_plan_can_be_pasted_into_a_shell) {
  Desk const desk;
  write_file("study.toml",
             "[study]\nname = \"s\"\nlauncher = \"slurm\"\n[set]\n\"train.steps\" = 5\n[slurm]\noptions = "
             "[\"--comment=it's ours\"]\n");
  std::string const plan = desk.succeeds("sweep", {"plan", "study.toml", "--folder", "a folder"});
  BOOST_TEST(contains(plan, " '--comment=it'\\''s ours' "), plan);
  BOOST_TEST(std::regex_search(plan, std::regex(" '--output=/[^ ]*/a folder/jobs/%A_%a\\.out' ")), plan);
  BOOST_TEST(contains(plan, " --job-name=s-1n "), plan);
}

BOOST_AUTO_TEST_CASE(a_study_that_is_missing_or_wrong_is_named) {
  Desk const desk;
  for (char const* command : {"plan", "status", "run", "report"})
    desk.fails("sweep", {command, "none.toml"}, {"none.toml", "no such file"});
  write_file("a.toml", "[study]\nname = \"a\"\n[axes]\n\"train.micro_bach\" = [1]\n");
  desk.fails("sweep", {"plan", "a.toml"}, {"a.toml", "Did you mean train.micro_batch?"});
  write_file("b.toml", "[study]\nname = \"b\"\nbase = \"none.toml\"\n[axes]\n\"train.micro_batch\" = [1]\n");
  desk.fails("sweep", {"plan", "b.toml"}, {"none.toml"});
  write_file("c.toml", "[study]\nname = \n");
  desk.fails("sweep", {"plan", "c.toml"}, {"c.toml line 2", "not TOML"});
}

BOOST_AUTO_TEST_SUITE_END()
