#include "study/driver.hpp"

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <random>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "stand_in.hpp"
#include "study/collect.hpp"
#include "study/launch.hpp"
#include "study/lock.hpp"

using namespace selenite;
using namespace study_test;

namespace {

struct Ran {
  RunSummary summary;
  std::vector<std::string> started;
};
Ran run(Workplace const& here, std::string const& study_file, bool retry = false) {
  Study const study = load_study(study_file);
  auto const points = expand(study);
  std::atomic<int> const stop = 0;
  Ran ran;
  ran.summary =
      run_study(study, points, {here.path("out"), here.program(), retry, 0.2}, stop, [&](StudyEvent const& p) {
        if (p.what == StudyEvent::What::started) ran.started.push_back(p.task.point->name);
      });
  return ran;
}

PointRecord record_of(Workplace const& here, std::string const& study_file, std::size_t point,
                      std::int64_t repeat = 1) {
  return state_of(
      here.path("out/" + expand(load_study(study_file))[point].folder_name() + "/repeat-" + std::to_string(repeat)));
}

pid_t start_driver(std::string const& study, std::string const& folder, std::string const& program) {
  std::string const driver = (fs::read_symlink("/proc/self/exe").parent_path() / "study_test_driver").string();
  pid_t const pid = fork();
  if (pid == 0) {
    execl(driver.c_str(), driver.c_str(), study.c_str(), folder.c_str(), program.c_str(), nullptr);
    _exit(126);
  }
  return pid;
}
int wait_for(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(driver)

BOOST_AUTO_TEST_CASE(every_point_is_run_once_with_its_config_written_before) {
  Workplace here;
  auto const study = here.study("[axes]\ntrain.micro_batch = [1, 2]\n", "repeats = 2");
  auto const first = run(here, study);
  BOOST_TEST(
      first.started == (std::vector<std::string>{"micro_batch=1", "micro_batch=2", "micro_batch=1", "micro_batch=2"}),
      boost::test_tools::per_element());
  BOOST_TEST(first.summary.done == 4);
  auto const record = record_of(here, study, 1, 2);
  BOOST_TEST((record.status == Status::done));
  BOOST_TEST(record.repeat == 2);
  BOOST_TEST(record.command.front() == here.program());
  BOOST_TEST((record.varied == std::vector<Setting>{{"train.micro_batch", "2"}}));
  Point const point = expand(load_study(study))[1];
  Config config = load_config(here.path("out/" + point.folder_name() + "/repeat-2/config.toml"), {});
  BOOST_TEST(config.run.folder == here.path("out/" + point.folder_name() + "/repeat-2"));
  config.run.folder.clear();
  BOOST_TEST((config == point.config));
  auto const second = run(here, study);
  BOOST_TEST(second.started.empty());
  BOOST_TEST(second.summary.kept == 4);
}

BOOST_AUTO_TEST_CASE(failures_keep_their_reason_and_run_again_only_when_asked) {
  Workplace here;
  auto const study = here.study("[axes]\ntrain.seed = [1, 2, 3, 4, 5, 6, 7]\n", "timeout_minutes = 0.01");
  BOOST_TEST(run(here, study).summary.failed == 6);
  auto const check = [&](std::size_t point, Status status, std::string const& reason) {
    auto const record = record_of(here, study, point);
    BOOST_TEST(name_of(record.status) == name_of(status));
    BOOST_TEST(contains(record.reason, reason), record.reason);
  };
  check(0, Status::done, "");
  check(1, Status::failed, "It ended with exit code 3: The loss is not a number (step 3). Lower the rate.");
  check(2, Status::timeout, "It had not ended after");
  check(3, Status::oom, "signal 9");
  check(4, Status::failed, "left no run record of a finished run");
  check(5, Status::oom, "Can't take 3 GiB");
  check(6, Status::failed, "nothing to say");
  BOOST_TEST(run(here, study).started.empty());
  BOOST_TEST(record_of(here, study, 1).attempts.empty());
  BOOST_TEST(run(here, study, true).started.size() == 6u);
  auto const again = record_of(here, study, 1);
  BOOST_REQUIRE_EQUAL(again.attempts.size(), 1u);
  BOOST_TEST(contains(again.attempts[0].reason, "The loss is not a number"));
  std::string const folder = here.path("out/" + expand(load_study(study))[1].folder_name() + "/repeat-1/attempt-1");
  BOOST_TEST(contains(read(folder + "/run.json"), "The loss is not a number"));
  BOOST_TEST(contains(read(folder + "/output.log"), "training with seed 2"));
}

BOOST_AUTO_TEST_CASE(who_was_told_to_end_by_somebody_else_has_not_failed) {
  Workplace here;
  auto const study = here.study("[axes]\ntrain.seed = [20, 21, 1]\n");
  auto const first = run(here, study);
  BOOST_TEST(first.summary.failed == 0);
  BOOST_TEST(first.summary.done == 1);
  BOOST_TEST(first.summary.interrupted);
  for (std::size_t i : {0u, 1u}) {
    BOOST_TEST((record_of(here, study, i).status == Status::pending));
    BOOST_TEST(record_of(here, study, i).reason == "It was told to end.");
  }
  auto const second = run(here, study);
  BOOST_TEST(second.summary.done == 2);
  BOOST_TEST(!second.summary.interrupted);
}

BOOST_AUTO_TEST_CASE(a_program_that_is_not_there_is_a_failure_of_the_point) {
  Workplace here;
  auto const study = here.study("");
  fs::remove(here.program());
  run(here, study);
  BOOST_TEST(contains(record_of(here, study, 0).reason, "Can't start"));
}

BOOST_AUTO_TEST_CASE(corrupt_records_are_failures_with_a_reason_and_nothing_else_is_lost) {
  Workplace here;
  auto const study = here.study("[axes]\ntrain.seed = [1, 8, 10, 11]\n");
  run(here, study);
  auto const points = expand(load_study(study));
  auto const folder = [&](std::size_t i) { return here.path("out/" + points[i].folder_name() + "/repeat-1/"); };
  std::string const whole = read(folder(0) + "run.json");
  write(folder(0) + "run.json", whole.substr(0, whole.size() / 2));
  write(folder(1) + "point.json", "{\"status\": \"done\"}");
  write(folder(2) + "point.json", "\x01\x02");
  BOOST_TEST(contains(record_of(here, study, 0).reason, "run.json is corrupt"));
  BOOST_TEST(contains(record_of(here, study, 1).reason, "point.json is corrupt"));
  BOOST_TEST(contains(record_of(here, study, 2).reason, "point.json is corrupt"));
  auto const again = run(here, study);
  BOOST_TEST(again.started.empty());
  BOOST_TEST(again.summary.failed == 3);
  BOOST_TEST(again.summary.kept == 1);
  BOOST_TEST(run(here, study, true).summary.done == 3);
}

BOOST_AUTO_TEST_CASE(a_record_that_is_lost_is_made_again_beside_what_earlier_tries_left) {
  Workplace here;
  auto const study = here.study("");
  run(here, study);
  std::string const folder = here.path("out/" + expand(load_study(study))[0].folder_name() + "/repeat-1/");
  for (int again = 1; again <= 3; ++again) {
    fs::create_directories(folder + "cache");
    write(folder + "cache/order", std::to_string(again));
    write(folder + "point.json", "\x01");
    BOOST_TEST(run(here, study, true).summary.done == 1);
    BOOST_TEST(read(folder + "attempt-" + std::to_string(again) + "/cache/order") == std::to_string(again));
    BOOST_TEST(record_of(here, study, 0).attempts.size() == static_cast<std::size_t>(again));
  }
}

BOOST_AUTO_TEST_CASE(a_finished_run_without_its_metrics_is_a_failure_that_retry_repairs) {
  Workplace here;
  auto const study = here.study("", "drop_steps = 1");
  run(here, study);
  std::string const folder = here.path("out/" + expand(load_study(study))[0].folder_name() + "/repeat-1/"),
                    file = folder + "metrics.jsonl", whole = read(file);
  std::string const without_last = whole.substr(0, whole.rfind('\n', whole.size() - 2) + 1);
  for (std::string const& left :
       {std::string(), std::string("{\"st"), whole.substr(0, whole.size() / 2), without_last}) {
    write(file, left);
    if (left.empty()) fs::remove(file);
    auto const record = record_of(here, study, 0);
    BOOST_TEST((record.status == Status::failed));
    BOOST_TEST(contains(record.reason, "metrics"), record.reason);
    StudyResult const result = collect(load_study(study), here.path("out"));
    BOOST_TEST(result.points[0].repeats[0].record.reason == record.reason);
    BOOST_TEST(run(here, study).summary.failed == 1);
    BOOST_TEST(run(here, study, true).summary.done == 1);
    BOOST_TEST((record_of(here, study, 0).status == Status::done));
  }
}

BOOST_AUTO_TEST_CASE(any_byte_of_a_record_may_be_wrong) {
  Workplace here;
  auto const study = here.study("");
  run(here, study);
  std::string const folder = here.path("out/" + expand(load_study(study))[0].folder_name() + "/repeat-1/");
  std::mt19937 random(7);
  for (std::string const name : {"run.json", "point.json", "metrics.jsonl"}) {
    std::string const whole = read(folder + name);
    for (int draw = 0; draw < 100; ++draw) {
      std::string broken = whole;
      if (draw % 2)
        broken.resize(random() % whole.size());
      else
        broken[random() % whole.size()] = static_cast<char>(random());
      write(folder + name, broken);
      try {  // it is read, or refused with words; anything else ends the test
        state_of(folder);
        read_metrics(folder + "metrics.jsonl");
      } catch (Error const& e) {
        BOOST_TEST(contains(e.what(), "corrupt"));
      }
    }
    write(folder + name, whole);
  }
}

BOOST_AUTO_TEST_CASE(two_drivers_refuse_each_other) {
  Workplace here;
  auto const study = here.study("");
  fs::create_directories(here.path("out"));
  {
    FolderLock const lock(here.path("out"), 0);
    BOOST_TEST(contains(message_of([&] { run(here, study); }), "Another driver is at work in"));
  }
  BOOST_TEST(run(here, study).summary.done == 1);
}

BOOST_AUTO_TEST_CASE(an_interrupt_ends_the_run_and_the_next_driver_goes_on) {
  Workplace here;
  Study const study = load_study(here.study("[axes]\ntrain.seed = [3, 1]\n"));
  auto const points = expand(study);
  std::atomic<int> stop = 0;
  auto const summary = run_study(study, points, {here.path("out"), here.program()}, stop, [&](StudyEvent const& p) {
    if (p.what == StudyEvent::What::started) ++stop;
  });
  BOOST_TEST(summary.interrupted);
  auto const record = record_of(here, study.file, 0);
  BOOST_TEST((record.status == Status::pending));
  BOOST_TEST(record.reason == "It was interrupted.");
  BOOST_TEST((record_of(here, study.file, 1).status == Status::pending));
}

BOOST_AUTO_TEST_CASE(a_full_disk_is_an_error_and_no_record_is_lost) {
  Workplace here;
  auto const study = here.study("[axes]\ntrain.seed = [1, 8]\n");
  run(here, study);
  std::string const file = here.path("out/" + expand(load_study(study))[0].folder_name() + "/repeat-1/point.json");
  PointRecord record = read_point_record(file);
  record.reason = std::string(200000, 'x');
  pid_t const pid = fork();
  if (pid == 0) {  // a limit on file size stands in for a full disk: write fails half way
    signal(SIGXFSZ, SIG_IGN);
    rlimit const limit{100000, 100000};
    setrlimit(RLIMIT_FSIZE, &limit);
    auto const message = message_of([&] { write_point_record(file, record); });
    _exit(contains(message, "Cannot write") ? 0 : 1);
  }
  BOOST_TEST(wait_for(pid) == 0);
  BOOST_TEST((read_point_record(file).status == Status::done));
  for (auto const& entry : fs::directory_iterator(fs::path(file).parent_path()))
    BOOST_TEST(entry.path().extension() != ".partial");
}

BOOST_AUTO_TEST_CASE(twenty_kills_and_everything_is_done_exactly_once) {
  Workplace here;
  // ten quick points and ten that take a while and can't be hurried: some kills hit between records, others inside a
  // run
  auto const study = here.study("[axes]\ntrain.micro_batch = [1, 2, 4, 8]\ntrain.seed = [8, 10, 9]\n", "repeats = 2");
  std::mt19937 random(20);
  int killed = 0;
  for (int i = 0; i < 200 && killed < 20; ++i) {
    pid_t const pid = start_driver(study, here.path("out"), here.program());
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + random() % 150));
    kill(pid, SIGKILL);
    int const code = wait_for(pid);
    BOOST_TEST_REQUIRE((code == -SIGKILL || code == 0), "the driver ended with code " << code);
    if (code == 0) break;
    ++killed;
  }
  BOOST_TEST(killed == 20);
  BOOST_TEST_REQUIRE(wait_for(start_driver(study, here.path("out"), here.program())) == 0);
  auto const points = expand(load_study(study));
  for (Task const& task : tasks_of(load_study(study), points, here.path("out"))) {
    BOOST_TEST((state_of(task.folder).status == Status::done));
    int finished = 0;
    for (auto const& entry : fs::recursive_directory_iterator(task.folder))
      if (entry.path().filename() == "run.json")
        finished += contains(read(entry.path().string()), "\"result\": \"finished\"");
    BOOST_TEST(finished == 1);
  }
  BOOST_TEST(run(here, study).started.empty());
}

BOOST_AUTO_TEST_CASE(ranks_are_started_by_mpirun_with_the_cores_shared_out) {
  auto const one = local_command({"p", "c.toml"}, 1, 8);
  BOOST_TEST(one == (std::vector<std::string>{"p", "c.toml"}), boost::test_tools::per_element());
  auto const four = local_command({"p", "c.toml"}, 4, 8);
  BOOST_TEST(four[0] == "mpirun");
  BOOST_TEST(four[2] == "4");
  BOOST_TEST(four.back() == "run.threads=2");
  BOOST_TEST((std::find(four.begin(), four.end(), "--oversubscribe") == four.end()));
  auto const many = local_command({"p", "c.toml"}, 4, 2);
  BOOST_TEST((std::find(many.begin(), many.end(), "--oversubscribe") != many.end()));
  BOOST_TEST(many.back() == "run.threads=1");
  BOOST_TEST((std::find(many.begin(), many.end(), "--allow-run-as-root") != many.end()) == (geteuid() == 0));
}

BOOST_AUTO_TEST_SUITE_END()
