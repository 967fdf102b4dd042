// Slurm as this suite sees it, with scripts in the place of squeue, sacct and submit.sh; tests/slurm has a real one.
#include "study/slurm.hpp"

#include <boost/test/unit_test.hpp>
#include <set>
#include <stdlib.h>

#include "stand_in.hpp"

using namespace selenite;
using namespace study_test;

namespace {

void script(std::string const& file, std::string const& body) {
  fs::create_directories(fs::path(file).parent_path());
  write(file, "#!/bin/bash\n" + body);
  fs::permissions(file, fs::perms::owner_all);
}

/// squeue and sacct found first in PATH for as long as it lives. They print the files queue and past.
struct FakeSlurm {
  explicit FakeSlurm(Workplace const& place) : here(place), path(getenv("PATH")) {
    script(here.path("bin/squeue"), "[ -f " + here.path("queue") +
                                        " ] || { echo 'slurm_load_jobs error: Invalid job id "
                                        "specified'; exit 1; }\ncat " +
                                        here.path("queue") + "\n");
    script(here.path("bin/sacct"), "cat " + here.path("past") + "\n");
    // numbers from 101 on; what it was called with goes to calls
    script(here.path("slurm/submit.sh"),
           "echo \"$*\" >>" + here.path("calls") + "\n[ ! -f " + here.path("refuse") +
               " ] || { echo 'sbatch: error: invalid partition'; exit 1; }\necho $((100 + $(wc -l <" +
               here.path("calls") + ")))\n");
    setenv("PATH", (here.path("bin") + ":" + path).c_str(), 1);
  }
  ~FakeSlurm() { setenv("PATH", path.c_str(), 1); }
  FakeSlurm(FakeSlurm const&) = delete;
  FakeSlurm& operator=(FakeSlurm const&) = delete;
  SubmitOptions options(bool retry = false) const { return {here.path("out"), here.path("slurm"), retry}; }
  Workplace const& here;
  std::string path;
};

struct Loaded {
  explicit Loaded(Workplace const& here, std::string const& rest, std::string const& head = "")
      : study(load_study(here.study(rest, "launcher = \"slurm\"\n" + head))),
        points(expand(study)),
        tasks(tasks_of(study, points, here.path("out"))) {}
  PointRecord record(std::size_t task) const { return state_of(tasks[task].folder); }
  Study study;
  std::vector<Point> points;
  std::vector<Task> tasks;
};

std::atomic<int> const no_stop = 0;
std::atomic<bool> const in_time = false;

PointRecord in_a_job(Workplace const& here, Task const& task, std::string const& array, std::string const& element) {
  setenv("SLURM_ARRAY_JOB_ID", array.c_str(), 1);
  setenv("SLURM_ARRAY_TASK_ID", element.c_str(), 1);
  setenv("SLURM_JOB_NODELIST", "node[1-2]", 1);
  auto const record = run_submitted(task.folder, {}, here.program(), 0, no_stop, in_time);
  for (char const* name : {"SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_NODELIST"}) unsetenv(name);
  return record;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(slurm)

BOOST_AUTO_TEST_CASE(words_of_slurm_are_understood) {
  BOOST_TEST((job_state_from("PENDING") == JobState::queued));
  BOOST_TEST((job_state_from("COMPLETING") == JobState::running));
  BOOST_TEST((job_state_from("CANCELLED by 1000") == JobState::cancelled));
  BOOST_TEST((job_state_from("OUT_OF_MEMORY") == JobState::oom));
  BOOST_TEST((job_state_from("FAILED|") == JobState::failed));
}

BOOST_AUTO_TEST_CASE(one_array_a_node_count_with_the_throttle) {
  Workplace here;
  Loaded const s(
      here,
      "[slurm]\nsite = \"selene\"\nranks_per_node = 4\ngpus_per_node = 4\ntime = \"00:20:00\"\nthrottle = 2\n"
      "options = [\"--account=x\"]\n[set]\ntrain.global_batch = 16\n",
      "ranks = [1, 2, 4, 8, 16]\nrepeats = 2\ntimeout_minutes = 5");
  auto const arrays = arrays_of(s.study, s.tasks);
  BOOST_REQUIRE_EQUAL(arrays.size(), 3u);
  BOOST_TEST(arrays[0].nodes == 1);
  BOOST_TEST(arrays[0].tasks.size() == 6u);
  BOOST_TEST(arrays[0].ranks_per_node == 4);
  BOOST_TEST(arrays[2].nodes == 4);
  BOOST_TEST(arrays[2].tasks.size() == 2u);
  auto const command = array_command(s.study, {"/study", "/slurm", false}, arrays[0], "list.txt");
  std::vector<std::string> const expected{
      "/slurm/submit.sh",  "--parsable",          "--site",          "selene",        "--job-name=s-1n",
      "--nodes=1",         "--ntasks-per-node=4", "--time=00:20:00", "--array=0-5%2", "--output=/study/jobs/%A_%a.out",
      "--gpus-per-node=4", "--account=x",         "point",           "list.txt",      "5.0"};
  BOOST_TEST(command == expected, boost::test_tools::per_element());
  auto const collector = collector_command(s.study, {"/study", "/slurm", false}, {"7", "9"});
  BOOST_TEST((std::find(collector.begin(), collector.end(), "--dependency=afterany:7:9") != collector.end()));
}

BOOST_AUTO_TEST_CASE(the_value_of_an_option_is_no_job) {
  Workplace here;
  FakeSlurm const slurm(here);
  script(here.path("bin/sbatch"), "printf '<%s>' \"$@\"\n");
  auto const submitted = [](std::vector<std::string> words) {
    words.insert(words.begin(), {SELENITE_SOURCE "/slurm/submit.sh", "--site", "generic"});
    return ask(words).text;
  };
  for (std::vector<std::string> const& options : {std::vector<std::string>{"-J", "pretrain"},
                                                  {"--job-name", "sweep", "--hold"},
                                                  {"-H", "-Jsweep", "--exclusive"},
                                                  {"--job-name=sweep", "--nodes", "2", "-N2"}}) {
    auto words = options;
    words.insert(words.end(), {"pretrain", "run.toml"});
    std::string const text = submitted(words);
    std::string expected;
    for (std::string const& o : options) expected += "<" + o + ">";
    BOOST_TEST(contains(text, expected + "<" SELENITE_SOURCE "/slurm/pretrain.sbatch><run.toml>"), text);
  }
  BOOST_TEST(contains(submitted({"-J", "pretrain"}), "No job was named"));
}

BOOST_AUTO_TEST_CASE(long_arrays_are_cut_to_what_slurm_takes) {
  Workplace here;
  Loaded const s(here, "", "repeats = 2500");
  auto const arrays = arrays_of(s.study, s.tasks);
  BOOST_REQUIRE_EQUAL(arrays.size(), 3u);
  BOOST_TEST(arrays[0].tasks.size() == 1000u);
  BOOST_TEST(arrays[2].tasks.size() == 500u);
}

BOOST_AUTO_TEST_CASE(submitted_repeats_are_known_by_their_job_and_are_submitted_once) {
  Workplace here;
  FakeSlurm const slurm(here);
  Loaded const s(here, "[axes]\ntrain.seed = [1, 2]\n[set]\ntrain.global_batch = 16\n", "ranks = [1, 2]");
  auto const submitted = submit_study(s.study, s.points, slurm.options());
  BOOST_TEST(submitted.jobs == (std::vector<std::string>{"101", "102"}), boost::test_tools::per_element());
  BOOST_TEST(submitted.collector == "103");
  BOOST_TEST(submitted.repeats == 4);
  BOOST_TEST((s.record(0).status == Status::submitted));
  std::set<std::string> jobs;
  for (Task const& task : s.tasks) jobs.insert(state_of(task.folder).job);
  BOOST_TEST(jobs == (std::set<std::string>{"101_0", "101_1", "102_0", "102_1"}), boost::test_tools::per_element());
  BOOST_TEST(contains(read(here.path("calls")), "--dependency=afterany:101:102"));
  BOOST_TEST(fs::exists(s.tasks[0].folder + "/config.toml"));
  write(here.path("queue"), "101_0 PENDING\n101_1 RUNNING\n102_0 PENDING\n102_1 PENDING\n");
  BOOST_TEST(submit_study(s.study, s.points, slurm.options()).jobs.empty());
  // a driver on the same folder leaves them to Slurm
  std::atomic<int> const stop = 0;
  auto const here_too = run_study(s.study, s.points, {here.path("out"), here.program()}, stop, [](auto const&) {});
  BOOST_TEST(here_too.elsewhere == 4);
  BOOST_TEST(here_too.done == 0);
}

BOOST_AUTO_TEST_CASE(a_refused_submission_leaves_the_repeats_pending) {
  Workplace here;
  FakeSlurm const slurm(here);
  Loaded const s(here, "");
  write(here.path("refuse"), "");
  BOOST_TEST(contains(message_of([&] { submit_study(s.study, s.points, slurm.options()); }), "invalid partition"));
  BOOST_TEST((s.record(0).status == Status::pending));
  fs::remove(here.path("refuse"));
  BOOST_TEST(submit_study(s.study, s.points, slurm.options()).repeats == 1);
}

BOOST_AUTO_TEST_CASE(a_job_keeps_the_record_of_its_repeat) {
  Workplace here;
  FakeSlurm const slurm(here);
  Loaded const s(here, "[axes]\ntrain.seed = [1, 2]\n");
  submit_study(s.study, s.points, slurm.options());
  auto const done = in_a_job(here, s.tasks[0], "101", "0");
  BOOST_TEST((done.status == Status::done));
  BOOST_TEST(done.job == "101_0");
  BOOST_TEST(done.nodes == "node[1-2]");
  auto const failed = in_a_job(here, s.tasks[1], "101", "1");
  BOOST_TEST((failed.status == Status::failed));
  BOOST_TEST(contains(failed.reason, "The loss is not a number"));
  // finished: a second start of the same job does nothing
  std::string const before = read(s.tasks[0].folder + "/point.json");
  in_a_job(here, s.tasks[0], "101", "0");
  BOOST_TEST(read(s.tasks[0].folder + "/point.json") == before);
  // failed ones are submitted again when asked for, the old files put aside
  BOOST_TEST(submit_study(s.study, s.points, slurm.options()).jobs.empty());
  BOOST_TEST(submit_study(s.study, s.points, slurm.options(true)).repeats == 1);
  BOOST_TEST(s.record(1).attempts.size() == 1u);
  BOOST_TEST(fs::exists(s.tasks[1].folder + "/attempt-1/run.json"));
}

BOOST_AUTO_TEST_CASE(a_job_that_slurm_starts_again_begins_anew) {
  Workplace here;
  FakeSlurm const slurm(here);
  Loaded const s(here, "");
  submit_study(s.study, s.points, slurm.options());
  PointRecord cut = s.record(0);  // its node failed in the middle
  cut.status = Status::running;
  write_point_record(s.tasks[0].folder + "/point.json", cut);
  write(s.tasks[0].folder + "/metrics.jsonl", "{\"step\": 1}\n");
  auto const record = in_a_job(here, s.tasks[0], "101", "0");
  BOOST_TEST((record.status == Status::done));
  BOOST_REQUIRE_EQUAL(record.attempts.size(), 1u);
  BOOST_TEST(contains(record.attempts[0].reason, "was started again"));
  BOOST_TEST(fs::exists(s.tasks[0].folder + "/attempt-1/metrics.jsonl"));
}

BOOST_AUTO_TEST_CASE(jobs_that_end_without_a_word_get_slurms_reason) {
  Workplace here;
  FakeSlurm const slurm(here);
  Loaded const s(here, "[axes]\ntrain.seed = [1, 2, 3, 4, 5, 6, 7, 8]\n");
  submit_study(s.study, s.points, slurm.options());
  write(here.path("queue"), "101_0 TIMEOUT\n101_1 OUT_OF_MEMORY\n101_2 CANCELLED\n101_3 RUNNING\n101_4 COMPLETED\n");
  write(here.path("past"), "101_5|NODE_FAIL\n101_6|CANCELLED by 0\n");
  settle(s.tasks);
  auto const check = [&](std::size_t task, Status status, std::string const& reason) {
    auto const record = s.record(task);
    BOOST_TEST(name_of(record.status) == name_of(status), "task " << task);
    BOOST_TEST(contains(record.reason, reason), record.reason);
  };
  check(0, Status::timeout, "at its time limit");
  check(1, Status::oom, "memory ran out");
  check(2, Status::pending, "was cancelled");
  check(3, Status::submitted, "");
  check(4, Status::failed, "left no record");
  check(5, Status::failed, "A node of job 101_5 failed");
  check(6, Status::pending, "was cancelled");
  check(7, Status::failed, "no longer knows its job 101_7");
}

BOOST_AUTO_TEST_CASE(where_slurm_does_not_answer_nothing_is_changed) {
  Workplace here;
  FakeSlurm const slurm(here);
  Loaded const s(here, "");
  submit_study(s.study, s.points, slurm.options());
  script(here.path("bin/squeue"), "echo 'Unable to contact slurm controller'; exit 1\n");
  settle(s.tasks);
  BOOST_TEST((s.record(0).status == Status::submitted));
}

BOOST_AUTO_TEST_CASE(a_submission_that_was_killed_is_made_again) {
  Workplace here;
  FakeSlurm const slurm(here);
  Loaded const s(here, "");
  submit_study(s.study, s.points, slurm.options());
  PointRecord killed = s.record(0);  // as it stands between the record and Slurm's answer
  killed.job.clear();
  write_point_record(s.tasks[0].folder + "/point.json", killed);
  BOOST_TEST(submit_study(s.study, s.points, slurm.options()).repeats == 1);
}

BOOST_AUTO_TEST_SUITE_END()
