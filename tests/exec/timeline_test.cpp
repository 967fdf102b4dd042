// A recorded timeline holds what the tally counts, in order, on the lanes where it runs.
#include "exec/timeline.hpp"

#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <map>
#include <optional>
#include <thread>

#include "exec/ctx.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/gemm/gemm.hpp"

using namespace selenite;

namespace {

constexpr AxisSet data_ranks{Axis::data};

/// GEMMs, fills, and an all-reduce beside them.
void work(Ctx& ctx) {
  ScopedMark const mark(ctx.scratch());
  Tensor const a = ctx.temporary(DType::fp32, {64, 64}), b = ctx.temporary(DType::fp32, {64, 64}),
               out = ctx.temporary(DType::fp32, {64, 64}), sum = ctx.temporary(DType::fp32, {100000});
  for (Tensor const& t : {a, b, sum}) ctx(Fill{.x = t, .value = 1});
  Event const reduced = ctx.on(Lane::comm, [&] { ctx(AllReduce{.data = sum, .group = data_ranks}); });
  for (int i = 0; i < 20; ++i) ctx(Gemm{.a = a, .b = b, .out = out});
  ctx.wait(reduced);
  ctx.set_optimizer_phase(true);
  ctx(Fill{.x = out, .value = 0});
  ctx.set_optimizer_phase(false);
}

std::vector<TimelineSpan> on(Timeline const& timeline, Lane lane) {
  std::vector<TimelineSpan> out;
  for (TimelineSpan const& s : timeline.spans())
    if (s.lane == lane) out.push_back(s);
  return out;
}

constexpr double rounding = 1e-12;  ///< seconds
bool same(double a, double b) { return std::abs(a - b) < rounding; }
void check_apart(std::vector<TimelineSpan> const& spans) {
  for (std::size_t i = 0; i < spans.size(); ++i) {
    BOOST_TEST(spans[i].start < spans[i].end);
    if (i > 0) BOOST_TEST(spans[i - 1].end <= spans[i].start + rounding);
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(timeline)

BOOST_AUTO_TEST_CASE(priced_work_lies_on_the_clocks_of_its_lanes) {
  Machine machine;
  machine.link_latency = 1e-5, machine.link_bandwidth = 1e9;
  machine.gemm_fp32 = {{1e6}, {1e12}}, machine.stream = {{1e6}, {1e10}};
  ProcessGrid const grid({1, 1, 1, 4, 1});
  Arena scratch("scratch");
  Ctx ctx({.grid = grid, .rank = Rank(2), .scratch = &scratch}, &machine);
  Timeline timeline;
  ctx.set_timeline(&timeline);
  work(ctx);
  ctx.set_timeline(nullptr);
  double const elapsed = ctx.elapsed();
  work(ctx);  // nobody looks
  auto const compute = on(timeline, Lane::compute), comm = on(timeline, Lane::comm);
  BOOST_TEST(compute.size() == 24u);
  BOOST_TEST_REQUIRE(comm.size() == 1u);
  BOOST_TEST(timeline.spans().size() == 25u);
  check_apart(compute);
  BOOST_TEST(comm[0].name == "all-reduce");
  BOOST_TEST(comm[0].category == "communication");
  BOOST_TEST(comm[0].cost.bytes == 400000);
  BOOST_CHECK(comm[0].cost.group == data_ranks);
  BOOST_TEST(same(comm[0].start, compute[2].end));          // behind what the compute lane had
  BOOST_TEST(same(compute[3].start, comm[0].start));        // beside the GEMMs
  BOOST_TEST(compute[23].start >= comm[0].end - rounding);  // waited for
  BOOST_TEST(compute[23].category == "optimizer");
  BOOST_TEST(compute[23].end == elapsed);
  std::map<std::string_view, double> seconds;
  for (TimelineSpan const& s : timeline.spans()) seconds[s.category] += s.end - s.start;
  for (std::size_t i = 0; i < cause_count; ++i)
    BOOST_TEST(seconds[name(static_cast<Cause>(i))] == ctx.tally().seconds[i] / 2, boost::test_tools::tolerance(1e-9));
}

BOOST_AUTO_TEST_CASE(running_work_is_timed_on_the_thread_that_does_it) {
  struct Seen {
    Timeline timeline;
    Tally tally;
    double start = 0, end = 0;
  };
  for (bool const own_thread : {false, true}) {
    std::array<Seen, 2> ranks;
    run_threads(2, [&](Comm& comm) {
      Seen& seen = ranks[static_cast<std::size_t>(*comm.rank())];
      ProcessGrid const grid({1, 1, 1, 2, 1});
      comm.set_grid(grid);
      Memory const memory(8 << 20);
      Arena scratch("scratch", memory.base(), 8 << 20);
      Cpu cpu;
      std::optional<CommLane> lane;
      if (own_thread) lane.emplace(comm);
      Ctx ctx({.grid = grid, .rank = comm.rank(), .scratch = &scratch}, cpu, &comm, lane ? &*lane : nullptr);
      ctx.set_timeline(&seen.timeline);
      seen.start = Ctx::now();
      work(ctx);
      seen.end = Ctx::now();
      seen.tally = ctx.tally();
    });
    for (Seen const& seen : ranks) {
      auto const compute = on(seen.timeline, Lane::compute);
      check_apart(compute);
      BOOST_TEST(compute.size() == 25u);  // with the wait, or the all-reduce itself
      BOOST_TEST(on(seen.timeline, Lane::comm).size() == (own_thread ? 1u : 0u));
      for (TimelineSpan const& s : seen.timeline.spans()) BOOST_TEST((s.start >= seen.start && s.end <= seen.end));
      std::map<std::string_view, double> seconds;
      for (TimelineSpan const& s : compute) seconds[s.category] += s.end - s.start;
      for (std::size_t i = 0; i < cause_count; ++i)
        BOOST_TEST(std::abs(seconds[name(static_cast<Cause>(i))] - seen.tally.seconds[i]) < 1e-9);
    }
  }
}

BOOST_AUTO_TEST_CASE(spans_are_sorted_outer_first_whoever_adds_them) {
  Timeline timeline;
  std::vector<std::jthread> threads;
  for (Lane const lane : {Lane::comm, Lane::compute})
    threads.emplace_back([&timeline, lane] {
      for (int i = 500; i-- > 0;) {
        timeline.add({.lane = lane, .name = "inner", .start = 1.0 * i, .end = i + 0.5});
        timeline.add({.lane = lane, .name = "outer", .start = 1.0 * i, .end = i + 1.0});
      }
    });
  threads.clear();
  auto const spans = timeline.spans();
  BOOST_TEST_REQUIRE(spans.size() == 2000u);
  for (std::size_t i = 0; i < spans.size(); ++i) {
    BOOST_TEST(spans[i].name == (i % 2 ? "inner" : "outer"));
    BOOST_TEST((spans[i].lane == (i < 1000 ? Lane::compute : Lane::comm)));
    BOOST_TEST(spans[i].start == static_cast<double>(i / 2 % 500));
  }
}

BOOST_AUTO_TEST_SUITE_END()
