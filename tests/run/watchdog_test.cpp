// A job that no longer moves ends with code 75, and the rank to look at is named with its last action.
#include "run/watchdog.hpp"

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <regex>

#include "tests/run/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

ProcessGrid const four({1, 1, 1, 2, 2});  // rank 3: data 1 pipe 1

WatchPost post(std::int64_t rank, std::string const& action, std::uint64_t actions, double idle,
               std::optional<Call> call = {}) {
  WatchPost p{.rank = rank, .actions = actions, .call = call ? packed(*call) : 0, .idle = idle};
  p.set_action(action);
  return p;
}
Call const recv_from_3{.kind = Call::Kind::recv, .peer = Rank(3)};
Call const sum_over_data{.kind = Call::Kind::all_reduce, .group = {Axis::data}};

/// A table of four ranks that were heard of at second 100.
WatchTable table_of(std::vector<WatchPost> const& posts) {
  WatchTable table(four, 0);
  for (WatchPost const& p : posts) table.update(p, 100);
  return table;
}
std::vector<WatchPost> all_but_3_wait(std::optional<Call> call_of_3) {
  return {post(0, "step 7 G", 70, 9, sum_over_data), post(1, "step 7 G", 70, 9, sum_over_data),
          post(2, "step 7 B1", 68, 9.5, recv_from_3), post(3, "step 7 F0.2", 60, 10, call_of_3)};
}

/// The process of a rank of a job that mpirun started.
pid_t process_of(Program const& job, int rank) {
  for (pid_t const pid : job.children()) {
    std::string const variable = concat("OMPI_COMM_WORLD_RANK=", rank, '\0');
    if (contains(read_file(concat("/proc/", pid, "/environ")), variable)) return pid;
  }
  BOOST_TEST_REQUIRE(false, "rank " << rank << " is not among the children of mpirun");
  return -1;
}

struct FourRanks {
  Workplace work;
  std::unique_ptr<Program> job;
  FourRanks() {
    job = std::make_unique<Program>(
        work.command(
            "run", {"train.steps=50000", "checkpoint.every=0", "run.watchdog=5", "layout.pipe=2", "layout.data=2"}, 4),
        work / "run.out");
    BOOST_TEST_REQUIRE(wait_until(90, [&] { return work.steps("run").size() >= 3; }), job->output());
    pause_ms(1500);  // posts of earlier than the first step are replaced
  }
  /// Stops a rank for good; what the log says then.
  std::string stop(int rank) {
    pid_t const pid = process_of(*job, rank);
    auto const start = std::chrono::steady_clock::now();
    kill(pid, SIGSTOP);
    bool const ended = wait_until(60, [&] { return job->ended(); });
    double const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (!ended) kill(pid, SIGKILL);
    BOOST_TEST(ended);
    BOOST_TEST(job->wait() == 75, job->output());
    BOOST_TEST(seconds > 4.5);
    BOOST_TEST(seconds < 20);
    std::string const log = read_file(work / "run" / "log.txt");
    std::regex const named(concat("Rank ", rank, R"( \(data \d pipe \d\) has been silent for \d[.0-9]* s: )",
                                  R"(its last action was (step \d+ [A-Z]|end of step))"));
    BOOST_TEST(std::regex_search(log, named), log);
    BOOST_TEST(std::regex_search(job->output(), named), job->output());
    BOOST_TEST(std::regex_search(log, std::regex(R"(Ranks? [0-9, ]+ waits? in (step \d+|end of step))")), log);
    std::string const record = read_file(work / "run" / "run.json");
    BOOST_TEST(contains(record, "\"result\": \"failed\""), record);
    BOOST_TEST(std::regex_search(record, named), record);
    return log;
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(watchdog)

BOOST_AUTO_TEST_CASE(a_call_keeps_its_meaning_in_a_word) {
  for (Call const& call : {recv_from_3, sum_over_data, Call{.kind = Call::Kind::ring_shift, .group = AxisSet::all()},
                           Call{.kind = Call::Kind::finish, .channel = Channel::tied},
                           Call{.kind = Call::Kind::send, .channel = Channel::backward, .peer = Rank(3071)}, Call{}}) {
    BOOST_TEST(packed(call) != 0u);
    BOOST_TEST((unpacked(packed(call)) == call), to_string(call));
  }
  BOOST_TEST(to_string(sum_over_data) == "all-reduce over data");
  BOOST_TEST(to_string(recv_from_3) == "recv from rank 3");
}

BOOST_AUTO_TEST_CASE(a_rank_whose_posts_stop_is_named_whatever_it_did) {
  WatchTable table = table_of(all_but_3_wait(std::nullopt));
  BOOST_TEST(!table.verdict(104, 20));
  WatchPost slow = post(3, "loading a checkpoint", 4, 0);
  slow.slow = true;
  table.update(slow, 104);
  for (int r = 0; r < 3; ++r) table.update(post(r, "loading a checkpoint", 4, 0, Call{}), 124);
  BOOST_TEST(!table.verdict(124, 20));
  std::string const text = table.verdict(125, 20).value_or("");
  BOOST_TEST(text.starts_with("Rank 3 (data 1 pipe 1) has been silent for 21 s: its last action was loading a "
                              "checkpoint (nothing comes from its watchdog"),
             text);
  BOOST_TEST(contains(text, "Ranks 0, 1, 2 wait in loading a checkpoint: an agreement of all ranks."), text);
  table.skip(10);  // the watcher itself had been stopped
  BOOST_TEST(!table.verdict(125, 20));
}

BOOST_AUTO_TEST_CASE(of_ranks_that_all_post_the_one_that_waits_for_nobody_is_named) {
  WatchTable const table = table_of(all_but_3_wait(std::nullopt));
  BOOST_TEST(!table.verdict(110.9, 20));  // rank 0 moved 9 seconds before second 100
  std::string const text = table.verdict(111.1, 20).value_or("");
  BOOST_TEST(text.starts_with("Rank 3 (data 1 pipe 1) has not moved for 21 s: its last action was step 7 F0.2 (the "
                              "process is alive, and waits for no other rank)."),
             text);
  BOOST_TEST(contains(text, "Ranks 0, 1 wait in step 7 G: all-reduce over data."), text);
  BOOST_TEST(contains(text, "Rank 2 waits in step 7 B1: recv from rank 3."), text);
}

BOOST_AUTO_TEST_CASE(of_ranks_that_all_wait_the_last_is_named) {
  WatchTable const table = table_of(all_but_3_wait(Call{.kind = Call::Kind::recv, .peer = Rank(2)}));
  std::string const text = table.verdict(112, 20).value_or("");
  BOOST_TEST(text.starts_with("Rank 3 (data 1 pipe 1) has not moved for 22 s: its last action was step 7 F0.2: recv "
                              "from rank 2 (all ranks wait for each other"),
             text);
}

BOOST_AUTO_TEST_CASE(who_reads_files_has_time_and_who_is_done_owes_nothing) {
  auto posts = all_but_3_wait(std::nullopt);
  posts[3].slow = true;
  BOOST_TEST(!table_of(posts).verdict(1000, 2000));
  for (WatchPost& p : posts) p.idle = 5000;
  BOOST_TEST(!table_of(posts).verdict(101, 2000));
  posts[3].call = packed(sum_over_data);  // it waits, too: that has to end
  BOOST_TEST(table_of(posts).verdict(101, 2000).has_value());
  for (WatchPost& p : posts) p.ended = true;
  BOOST_TEST(!table_of(posts).verdict(10000, 20));
}

BOOST_AUTO_TEST_CASE(it_fires_once_with_the_action_in_flight) {
  auto const comm = make_self_comm();
  std::atomic<int> fired = 0;
  std::string said;
  {
    Watchdog dog(0.5, *comm, ProcessGrid(),
                 {.expired = [&](std::string const& text) { said = text, ++fired; }, .alarm = {}});
    for (int i = 0; i < 20; ++i) dog.announce(concat("step ", i), Watchdog::Pace::timed), pause_ms(50);
    BOOST_TEST(fired == 0);
    dog.announce("reading", Watchdog::Pace::slow);
    pause_ms(1000);
    BOOST_TEST(fired == 0);
    dog.announce("step 20 G", Watchdog::Pace::timed);
    BOOST_TEST(wait_until(10, [&] { return fired > 0; }));
    pause_ms(700);
  }
  BOOST_TEST(fired == 1);
  BOOST_TEST(contains(said, "Rank 0 has not moved for"), said);
  BOOST_TEST(contains(said, "its last action was step 20 G (the process is alive"), said);
}

BOOST_AUTO_TEST_CASE(zero_switches_it_off_and_ending_does_not_wait) {
  auto const comm = make_self_comm();
  auto const start = std::chrono::steady_clock::now();
  {
    auto const fires = [](std::string const&) { BOOST_ERROR("it fired"); };
    Watchdog const off(0, *comm, ProcessGrid(), {.expired = fires, .alarm = fires});
    Watchdog const late(1000, *comm, ProcessGrid(), {.expired = fires, .alarm = fires});
    pause_ms(30);
  }
  BOOST_TEST((std::chrono::steady_clock::now() - start < std::chrono::seconds(60)));
}

namespace {
/// Thread ranks under watchdogs of `limit` seconds; the abort's code, or 0, and what was said.
std::pair<int, std::string> watched(std::int64_t world, double limit,
                                    std::function<void(Comm&, Watchdog&)> const& body) {
  std::mutex mutex;
  std::string said;
  try {
    run_threads(world, [&](Comm& comm) {
      ProcessGrid const grid({1, 1, 1, world, 1});
      auto const expired = [&](std::string const& text) {
        {
          std::lock_guard const lock(mutex);
          said += text;
        }
        comm.abort(75);
      };
      Watchdog dog(limit, comm, grid, {.expired = expired, .alarm = {}});
      comm.set_grid(grid);
      body(comm, dog);
    });
  } catch (Aborted const& e) {
    return {e.code, said};
  }
  return {0, said};
}
}  // namespace

BOOST_AUTO_TEST_CASE(a_deadlock_of_thread_ranks_ends_with_code_75) {
  auto const [code, said] = watched(3, 1, [](Comm& comm, Watchdog& dog) {
    float value = 0;
    Tensor const data = Tensor::of(&value, {1});
    dog.announce("step 1 F0", Watchdog::Pace::timed);
    if (*comm.rank() != 1) dog.announce("step 1 G", Watchdog::Pace::timed);
    if (*comm.rank() == 1) comm.launch(Recv{.data = data, .from = Rank(2)});  // which never sends
    comm.launch(AllReduce{.data = data, .group = {Axis::data}});
  });
  BOOST_TEST(code == 75);
  BOOST_TEST(said.starts_with("Rank 1 (data 1) has not moved for 1.") == true, said);
  BOOST_TEST(contains(said, "its last action was step 1 F0: recv from rank 2 (all ranks wait"), said);
  BOOST_TEST(contains(said, "Ranks 0, 2 wait in step 1 G: all-reduce over data."), said);
}

BOOST_AUTO_TEST_CASE(a_slow_save_of_one_rank_does_not_trip_those_that_wait_for_it) {
  auto const [code, said] = watched(3, 0.3, [](Comm& comm, Watchdog& dog) {
    dog.announce("end of step 1");
    if (*comm.rank() == 1) pause_ms(2000);
    comm.barrier();
  });
  BOOST_TEST(code == 0);
  BOOST_TEST(said == "");
}

BOOST_AUTO_TEST_CASE(a_stopped_rank_is_named_and_ends_the_job) {
  FourRanks four_ranks;
  four_ranks.stop(2);
}

BOOST_AUTO_TEST_CASE(where_rank_0_is_stopped_the_last_rank_speaks) {
  FourRanks four_ranks;
  four_ranks.stop(0);
}

BOOST_AUTO_TEST_CASE(when_a_rank_is_killed_the_last_actions_of_all_are_in_the_log) {
  FourRanks four_ranks;
  kill(process_of(*four_ranks.job, 2), SIGKILL);
  BOOST_TEST(wait_until(60, [&] { return four_ranks.job->ended(); }));
  BOOST_TEST(four_ranks.job->wait() == 128 + SIGKILL, four_ranks.job->output());
  std::string const log = read_file(four_ranks.work / "run" / "log.txt");
  std::string const last = R"(its last action was (step \d+ [A-Z]|end of step))";
  for (int const rank : {0, 1, 3})
    BOOST_TEST(std::regex_search(log, std::regex(concat("Rank ", rank, " got a SIGTERM [^;]*; ", last))), log);
  BOOST_TEST(std::regex_search(log, std::regex(R"(Rank 2 \(data 0 pipe 1\) no longer answers; )" + last)), log);
}

BOOST_AUTO_TEST_SUITE_END()
