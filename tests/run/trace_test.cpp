// --trace: what a run, or a plan, did when, as Chrome's viewer reads it.
#include <boost/test/unit_test.hpp>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/run/support.hpp"

using namespace selenite;
using namespace selenite::test;
using Json = nlohmann::json;

namespace {

struct Event {
  std::string name, category;
  double start, end;
};

/// Events by (process, thread), outer before inner; checks that those of a thread lie inside each other or apart.
std::map<std::pair<int, int>, std::vector<Event>> events_of(std::filesystem::path const& path) {
  std::map<std::pair<int, int>, std::vector<Event>> all;
  Json const trace = Json::parse(read_file(path));
  for (Json const& e : trace.at("traceEvents")) {
    if (e.at("ph") == "M") continue;
    BOOST_TEST(e.at("ph") == "X");
    double const start = e.at("ts"), length = e.at("dur");
    BOOST_TEST(length >= 0);
    all[{e.at("pid"), e.at("tid")}].push_back({e.at("name"), e.at("cat"), start, start + length});
  }
  for (auto& [thread, events] : all) {
    std::ranges::stable_sort(events, [](Event const& a, Event const& b) {
      return a.start < b.start || (a.start == b.start && a.end > b.end);
    });
    std::vector<double> open;
    for (Event const& e : events) {
      while (!open.empty() && open.back() <= e.start + 1e-6) open.pop_back();
      BOOST_TEST((open.empty() || e.end <= open.back() + 2e-3), e.name << " ends after what it is in");
      open.push_back(e.end);
    }
  }
  return all;
}

std::multiset<std::string> names(std::vector<Event> const& events, std::string const& category) {
  std::multiset<std::string> all;
  for (Event const& e : events)
    if (e.category == category) all.insert(e.name);
  return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(trace)

BOOST_AUTO_TEST_CASE(every_rank_shows_its_steps_actions_work_and_messages) {
  Workplace const work;
  for (bool threads : {true, false}) {
    std::string const name = threads ? "threads" : "mpi", file = (work / (name + ".json")).string();
    std::vector<std::string> settings{"layout.data=2",     "layout.pipe=2",     "layout.overlap=gradients",
                                      "log.trace=" + file, "log.trace_steps=2", "train.steps=3"};
    if (threads) settings.emplace_back("run.comm=threads");
    auto const run = work.pretrain(name, settings, threads ? 1 : 4);
    BOOST_TEST_REQUIRE(run.code == 0, run.output);
    auto const events = events_of(file);
    for (int rank = 0; rank < 4; ++rank) {
      auto const& compute = events.at({rank, 0});
      BOOST_TEST((names(compute, "step") == std::multiset<std::string>{"step 1", "step 2"}));
      std::multiset<std::string> const actions = names(compute, "action");
      for (char const* action : {"F0.0", "F0.1", "B0.0", "B0.1", "G", "O"})
        BOOST_TEST(actions.count(action) == 2u, action);
      BOOST_TEST(actions.size() == 12u);
      BOOST_TEST(names(compute, "gemm").size() > 20u);
      BOOST_TEST(names(compute, "communication").size() >= 4u);
    }
    for (int rank = 0; rank < 4; ++rank) BOOST_TEST(!std::filesystem::exists(file + concat(".rank", rank)));
  }
}

BOOST_AUTO_TEST_CASE(a_dry_run_shows_the_planned_step) {
  Workplace const work;
  std::string const file = (work / "plan.json").string();
  auto const run = work.pretrain("plan", {"layout.pipe=4", "layout.data=1", "model.layers=4", "log.trace=" + file});
  BOOST_TEST(run.code == 1, "four stages on one rank");
  auto command = work.command("plan", {"layout.pipe=4", "layout.data=1", "model.layers=4", "log.trace=" + file});
  command.insert(command.end(), {"--dry-run", "--world", "4"});
  Program program(command, work / "plan.out");
  BOOST_TEST_REQUIRE(program.wait() == 0, program.output());
  auto const events = events_of(file);
  BOOST_TEST(events.size() == 4u);
  for (int stage = 0; stage < 4; ++stage) BOOST_TEST(names(events.at({0, stage}), "action").size() == 2u * 4 + 2);
}

BOOST_AUTO_TEST_CASE(a_path_that_cannot_be_written_is_found_before_the_work) {
  Workplace const work;
  auto const run = work.pretrain("bad", {"log.trace=" + (work / "no" / "such" / "folder.json").string()});
  BOOST_TEST(run.code == 1);
  BOOST_TEST(!contains(run.output, "step 1"), run.output);
}

BOOST_AUTO_TEST_SUITE_END()
