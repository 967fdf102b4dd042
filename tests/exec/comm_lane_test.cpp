#include <boost/test/unit_test.hpp>
#include <vector>

#include "exec/ctx.hpp"

using namespace selenite;

namespace {

/// A rank of a job over `data` alone, with memory.
struct LaneRank {
  explicit LaneRank(Comm& c) : grid({1, 1, 1, c.world(), 1}), memory(1 << 20), comm(c) {
    comm.set_grid(grid);
    arena = Arena("test", memory.base(), memory.bytes());
  }
  Ctx::Place place() { return {.grid = grid, .rank = comm.rank(), .save = &arena, .scratch = &arena}; }
  Tensor ones(std::int64_t count) {
    Tensor const t = arena.allocate(DType::fp32, {count});
    std::fill_n(t.data<float>(), count, 1.0F);
    return t;
  }
  ProcessGrid grid;
  Memory memory;
  Arena arena{"test"};
  Comm& comm;
  Cpu cpu;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(comm_lane)

BOOST_AUTO_TEST_CASE(work_is_done_in_order_and_waited_for) {
  run_threads(3, [](Comm& comm) {
    LaneRank rank(comm);
    CommLane lane(comm);
    Ctx ctx(rank.place(), rank.cpu, &comm, &lane);
    Tensor const t = rank.ones(5000);
    std::vector<Event> events;
    for (int i = 0; i < 4; ++i)
      events.push_back(ctx.on(Lane::comm, [&] { ctx(AllReduce{.data = t, .group = {Axis::data}}); }));
    ctx.wait(events[3]);  // and so for those before
    if (t.data<float>()[4999] != 81) throw Error("The sums are not those of four reductions.");
    ctx(AllReduce{.data = t, .group = {Axis::data}});  // on the compute lane: done when it returns
    if (t.data<float>()[0] != 243) throw Error("A collective of the compute lane was not waited for.");
    if (ctx.tally().launches != 5) throw Error("Launches are miscounted.");
  });
}

BOOST_AUTO_TEST_CASE(what_is_under_way_is_finished_before_the_lane_ends) {
  std::vector<float> values(2);
  run_threads(2, [&](Comm& comm) {
    LaneRank rank(comm);
    Tensor const t = rank.ones(100000);
    {
      CommLane lane(comm);
      Ctx ctx(rank.place(), rank.cpu, &comm, &lane);
      ctx.on(Lane::comm, [&] { ctx(AllReduce{.data = t, .group = {Axis::data}}); });
    }
    values[static_cast<std::size_t>(*comm.rank())] = t.data<float>()[99999];
  });
  BOOST_TEST(values[0] == 2);
  BOOST_TEST(values[1] == 2);
}

BOOST_AUTO_TEST_CASE(a_rank_that_fails_with_work_under_way_ends_the_job) {
  auto const failing = [](Comm& comm) {
    LaneRank rank(comm);
    CommLane lane(comm);
    Ctx ctx(rank.place(), rank.cpu, &comm, &lane);
    Tensor const t = rank.ones(1000);
    Event const sum = ctx.on(Lane::comm, [&] { ctx(AllReduce{.data = t, .group = {Axis::data}}); });
    if (*comm.rank() == 1) throw Error("The corpus is damaged.");
    ctx.wait(sum);
    ctx(AllReduce{.data = t, .group = {Axis::data}});  // rank 1 never comes
  };
  for (int i = 0; i < 20; ++i)  // whichever thread is first
    BOOST_CHECK_EXCEPTION(run_threads(3, failing), Error, [](Error const& e) {
      return std::string(e.what()).find("rank 1: The corpus is damaged.") != std::string::npos;
    });
}

BOOST_AUTO_TEST_CASE(what_the_lane_throws_reaches_who_waits) {
  auto const mismatched = [](Comm& comm) {
    LaneRank rank(comm);
    CommLane lane(comm);
    Ctx ctx(rank.place(), rank.cpu, &comm, &lane);
    Tensor const t = rank.ones(1000 + *comm.rank());
    ctx.wait(ctx.on(Lane::comm, [&] { ctx(AllReduce{.data = t, .group = {Axis::data}}); }));
  };
  BOOST_CHECK_THROW(run_threads(2, mismatched), Error);
}

BOOST_AUTO_TEST_SUITE_END()
