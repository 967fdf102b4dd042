// What a pricing context says of communication must be what a running one does.
#define BOOST_TEST_MODULE exec
#include <boost/test/unit_test.hpp>
#include <vector>

#include "exec/ctx.hpp"

using namespace selenite;

namespace {

/// One program for both kinds of context: every operation, in groups of several axes, ragged and larger than a piece.
void communicate(Ctx& ctx) {
  ScopedMark const mark(ctx.scratch());
  Rank const me = ctx.rank();
  ProcessGrid const& grid = ctx.grid();
  auto moved = [&](Axis axis, std::int64_t by) {
    Coords c = grid.coords(me);
    auto& x = c[static_cast<std::size_t>(axis)];
    x = (x + by + grid.size(axis)) % grid.size(axis);
    return grid.rank(c);
  };
  for (AxisSet const axes : {AxisSet{Axis::data}, AxisSet{Axis::tensor, Axis::data}, AxisSet{Axis::context}})
    for (std::int64_t count : {1, 1001, 600007}) {
      std::int64_t const n = grid.size(axes);
      Tensor const one = ctx.temporary(DType::bf16, {count}), all = ctx.temporary(DType::bf16, {count * n});
      Tensor const other = ctx.temporary(DType::bf16, {count});
      ctx(AllGather{.input = one, .output = all, .group = axes});
      ctx(AllReduce{.data = all, .group = axes});
      ctx(ReduceScatter{.input = all, .output = one, .group = axes});
      ctx(Broadcast{.data = one, .group = axes, .root = n - 1});
      ctx(RingShift{.send = one, .recv = other, .group = axes});
    }
  Tensor const out = ctx.temporary(DType::fp32, {4097}), in = ctx.temporary(DType::fp32, {4097});
  ctx(Send{.data = out, .to = moved(Axis::pipe, 1), .channel = Channel::forward, .tag = 1});
  ctx(Recv{.data = in, .from = moved(Axis::pipe, -1), .channel = Channel::forward, .tag = 1});
  ctx.finish(Channel::forward);
  ctx(Send{.data = in, .to = moved(Axis::pipe, -1), .channel = Channel::backward, .tag = 2});
  ctx(Recv{.data = out, .from = moved(Axis::pipe, 1), .channel = Channel::backward, .tag = 2});
  ctx.finish(Channel::backward);
}

Machine machine() {
  Machine m;
  m.link_latency = 1e-6, m.link_bandwidth = 1e10;
  return m;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(communication)

BOOST_AUTO_TEST_CASE(bytes_sent_are_those_priced) {
  for (Coords const& sizes : {Coords{2, 1, 1, 2, 2}, Coords{1, 1, 1, 3, 2}, Coords{1, 2, 1, 1, 2}}) {
    ProcessGrid const grid(sizes);
    std::vector<SentBytes> sent(static_cast<std::size_t>(grid.world()));
    std::vector<Tally> ran(sent.size());
    run_threads(grid.world(), [&](Comm& comm) {
      comm.set_grid(grid);
      Memory const memory(64 << 20);
      Arena arena("test", memory.base(), memory.bytes());
      Cpu cpu;
      Ctx ctx({.grid = grid, .rank = comm.rank(), .save = &arena, .scratch = &arena}, cpu, &comm);
      communicate(ctx);
      sent[static_cast<std::size_t>(*comm.rank())] = comm.sent();
      ran[static_cast<std::size_t>(*comm.rank())] = ctx.tally();
    });
    Machine const m = machine();
    for (std::size_t r = 0; r < sent.size(); ++r) {
      Arena nothing("test");
      Ctx priced({.grid = grid, .rank = Rank(static_cast<std::int64_t>(r)), .save = &nothing, .scratch = &nothing}, &m);
      communicate(priced);
      BOOST_TEST_CONTEXT("rank " << r << " of " << sent.size()) {
        BOOST_TEST((priced.tally().sent == sent[r]), priced.tally().sent.total()
                                                         << " priced, " << sent[r].total() << " sent");
        BOOST_TEST(sent[r][Channel::forward] == 4097 * 4);
        BOOST_TEST((ran[r].sent == sent[r]));
        BOOST_TEST(ran[r].collective_bytes == priced.tally().collective_bytes);
        BOOST_TEST(ran[r].launches == priced.tally().launches);
        auto const cause = static_cast<std::size_t>(Cause::communication);
        BOOST_TEST(ran[r].seconds[cause] > 0);
        BOOST_TEST(priced.tally().seconds[cause] > 0);
        BOOST_TEST(priced.tally().total_seconds() == priced.tally().seconds[cause]);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_message_is_priced_by_latency_and_bytes) {
  ProcessGrid const grid({1, 1, 1, 4, 1});
  Machine const m = machine();
  Tensor const t(nullptr, DType::fp32, {25000});
  auto seconds = [&](auto const& op) {
    Arena nothing("test");
    Ctx ctx({.grid = grid, .scratch = &nothing}, &m);
    ctx(op);
    return ctx.tally().total_seconds();
  };
  double const message = 1e-6 + 1e5 / 1e10;
  BOOST_TEST(seconds(Send{.data = t, .to = Rank(1)}) == message);
  BOOST_TEST(seconds(Recv{.data = t, .from = Rank(1)}) == 0);  // counted once, with its send
  BOOST_TEST(seconds(RingShift{.send = t, .recv = t, .group = {Axis::data}}) == message);
  BOOST_TEST(seconds(RingShift{.send = t, .recv = t, .group = {Axis::pipe}}) == 0);
}

BOOST_AUTO_TEST_SUITE_END()
