// Run under mpirun with any number of ranks: every collective against a plain loop over what the ranks are known to
// hold.
#define BOOST_TEST_MODULE comm_mpi
#define BOOST_TEST_NO_MAIN
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <numeric>

#include "comm/comm.hpp"
#include "core/element.hpp"
#include "core/error.hpp"

using namespace selenite;

namespace {

std::unique_ptr<Comm> world;  // MPI starts once a process

/// Values that any rank can work out for any other: not symmetric, not exact in sums, so that order shows.
double value(std::int64_t rank, std::int64_t i) {
  return std::sin(1.0 + static_cast<double>(rank) * 1.7 + static_cast<double>(i) * 0.37) *
         std::pow(10.0, static_cast<double>((rank + i) % 4));
}

struct Buffer {
  Buffer(DType dtype, std::int64_t count)
      : bytes(static_cast<std::size_t>(count * size_of(dtype))), tensor(bytes.data(), dtype, {count}) {}
  std::vector<std::byte> bytes;
  Tensor tensor;
};
Buffer filled(DType dtype, std::int64_t count, std::int64_t rank, std::int64_t first = 0) {
  Buffer b(dtype, count);
  for (std::int64_t i = 0; i < count; ++i) store(b.tensor, i, value(rank, first + i));
  return b;
}

/// The sum in group order as the contract says: in fp32 (fp64 for fp64), rounded once to the dtype.
double sum_in_order(DType dtype, std::vector<Rank> const& group, std::int64_t i) {
  Buffer one(dtype, 1);
  auto rounded = [&](double x) {
    store(one.tensor, 0, x);
    return load(one.tensor, 0);
  };
  if (dtype == DType::fp64) {
    double sum = value(*group[0], i);
    for (std::size_t r = 1; r < group.size(); ++r) sum += value(*group[r], i);
    return sum;
  }
  auto sum = static_cast<float>(rounded(value(*group[0], i)));
  for (std::size_t r = 1; r < group.size(); ++r) sum += static_cast<float>(rounded(value(*group[r], i)));
  return rounded(sum);
}

/// Grids that this world can have.
std::vector<Coords> grids() {
  std::int64_t const n = world->world();
  std::vector<Coords> all{{1, 1, 1, n, 1}, {n, 1, 1, 1, 1}, {1, 1, 1, 1, n}};
  if (n == 4) all.push_back({1, 1, 1, 2, 2}), all.push_back({2, 1, 1, 2, 1}), all.push_back({1, 2, 2, 1, 1});
  return all;
}
template <class Body>
void for_each_group(Body body) {
  for (Coords const& sizes : grids()) {
    ProcessGrid const grid(sizes);
    auto const comm = [&]() -> Comm& {
      world->set_grid(grid);
      return *world;
    };
    Comm& c = comm();
    for (AxisSet const axes :
         {AxisSet{Axis::data}, AxisSet{Axis::pipe}, AxisSet{Axis::tensor}, AxisSet{Axis::data, Axis::pipe},
          AxisSet{Axis::context, Axis::expert, Axis::data}, AxisSet::all()}) {
      if (grid.size(axes) == 1) continue;
      BOOST_TEST_CONTEXT(describe(grid, c.rank()) << ", group over " << to_string(axes))
      body(c, axes, grid.group(c.rank(), axes), grid.index_in_group(c.rank(), axes));
    }
  }
}

// odd, fewer than ranks, larger than the pieces of 1 MiB
std::int64_t const counts[] = {1, 2, 3, 1000, 4099, (1 << 20) + 7};
DType const dtypes[] = {DType::fp32, DType::fp64, DType::bf16};

}  // namespace

BOOST_AUTO_TEST_SUITE(mpi)

BOOST_AUTO_TEST_CASE(all_reduce_sums_in_rank_order) {
  for_each_group([](Comm& comm, AxisSet axes, std::vector<Rank> const& group, std::int64_t) {
    for (DType dtype : dtypes)
      for (std::int64_t count : counts) {
        if (count > 5000 && axes != AxisSet{Axis::data}) continue;
        Buffer b = filled(dtype, count, *comm.rank());
        comm.launch(AllReduce{.data = b.tensor, .group = axes});
        std::int64_t wrong = 0, step = count > 5000 ? 97 : 1;
        for (std::int64_t i = 0; i < count; i += step) wrong += load(b.tensor, i) != sum_in_order(dtype, group, i);
        wrong += load(b.tensor, count - 1) != sum_in_order(dtype, group, count - 1);
        BOOST_TEST(wrong == 0, name(dtype) << ", " << count << " elements: " << wrong << " wrong");
      }
  });
}

BOOST_AUTO_TEST_CASE(all_reduce_takes_the_largest) {
  for_each_group([](Comm& comm, AxisSet axes, std::vector<Rank> const& group, std::int64_t) {
    Buffer b = filled(DType::fp32, 1001, *comm.rank());
    comm.launch(AllReduce{.data = b.tensor, .group = axes, .reduction = Reduction::max});
    for (std::int64_t i = 0; i < 1001; ++i) {
      float most = -INFINITY;
      for (Rank r : group) most = std::max(most, static_cast<float>(value(*r, i)));
      BOOST_TEST_REQUIRE(load(b.tensor, i) == most);
    }
  });
}

BOOST_AUTO_TEST_CASE(gathering_and_scattering_keep_group_order) {
  for_each_group([](Comm& comm, AxisSet axes, std::vector<Rank> const& group, std::int64_t index) {
    auto const n = static_cast<std::int64_t>(group.size());
    for (DType dtype : dtypes)
      for (std::int64_t count : {1, 5, 3001, 300000}) {
        if (count > 5000 && axes != AxisSet{Axis::data}) continue;
        Buffer const input = filled(dtype, count, *comm.rank());
        Buffer output(dtype, n * count), expected(dtype, 1);
        comm.launch(AllGather{.input = input.tensor, .output = output.tensor, .group = axes});
        std::int64_t wrong = 0, step = count > 5000 ? 97 : 1;
        for (std::int64_t r = 0; r < n; ++r)
          for (std::int64_t i = 0; i < count; i += step) {
            store(expected.tensor, 0, value(*group[static_cast<std::size_t>(r)], i));
            wrong += load(output.tensor, r * count + i) != load(expected.tensor, 0);
          }
        BOOST_TEST(wrong == 0, "all-gather of " << count << " " << name(dtype));

        Buffer const whole = filled(dtype, n * count, *comm.rank());
        Buffer piece(dtype, count);
        comm.launch(ReduceScatter{.input = whole.tensor, .output = piece.tensor, .group = axes});
        wrong = 0;
        for (std::int64_t i = 0; i < count; i += step)
          wrong += load(piece.tensor, i) != sum_in_order(dtype, group, index * count + i);
        BOOST_TEST(wrong == 0, "reduce-scatter of " << count << " " << name(dtype));
      }
  });
}

BOOST_AUTO_TEST_CASE(gathering_in_place_keeps_the_own_piece) {
  for_each_group([](Comm& comm, AxisSet axes, std::vector<Rank> const& group, std::int64_t index) {
    auto const n = static_cast<std::int64_t>(group.size());
    Buffer all(DType::fp64, n * 10);
    Tensor const own(all.bytes.data() + index * 80, DType::fp64, {10});
    for (std::int64_t i = 0; i < 10; ++i) store(own, i, value(*comm.rank(), i));
    comm.launch(AllGather{.input = own, .output = all.tensor, .group = axes});
    for (std::int64_t i = 0; i < n * 10; ++i)
      BOOST_TEST_REQUIRE(load(all.tensor, i) == value(*group[static_cast<std::size_t>(i / 10)], i % 10));
  });
}

BOOST_AUTO_TEST_CASE(broadcast_comes_from_its_root) {
  for_each_group([](Comm& comm, AxisSet axes, std::vector<Rank> const& group, std::int64_t) {
    for (std::size_t root = 0; root < group.size(); ++root) {
      Buffer b = filled(DType::fp64, 777, *comm.rank());
      comm.launch(Broadcast{.data = b.tensor, .group = axes, .root = static_cast<std::int64_t>(root)});
      for (std::int64_t i = 0; i < 777; ++i) BOOST_TEST_REQUIRE(load(b.tensor, i) == value(*group[root], i));
    }
  });
}

BOOST_AUTO_TEST_CASE(control_messages_reach_all) {
  auto const n = world->world();
  std::vector<double> values{static_cast<double>(*world->rank()), 1};
  world->all_reduce(values, Reduction::sum);
  BOOST_TEST(values[0] == static_cast<double>(n * (n - 1) / 2));
  BOOST_TEST(values[1] == static_cast<double>(n));
  std::string const mine(static_cast<std::size_t>(*world->rank()) * 1000, static_cast<char>('a' + *world->rank()));
  auto const texts = world->all_gather(mine);
  BOOST_TEST_REQUIRE(static_cast<std::int64_t>(texts.size()) == n);
  for (std::int64_t r = 0; r < n; ++r)
    BOOST_TEST(texts[static_cast<std::size_t>(r)] ==
               std::string(static_cast<std::size_t>(r) * 1000, static_cast<char>('a' + r)));
  std::vector<std::byte> bytes(static_cast<std::size_t>(*world->rank() == n - 1 ? 12345 : *world->rank()),
                               std::byte{7});
  world->broadcast(bytes, Rank(n - 1));
  BOOST_TEST(bytes.size() == 12345u);
  BOOST_TEST((bytes.back() == std::byte{7}));
  world->barrier();
}

BOOST_AUTO_TEST_CASE(ranks_that_differ_are_named_by_all) {
  BOOST_CHECK_NO_THROW(require_same(*world, "config", "a"));
  if (world->world() == 1) return;
  std::string const mine = *world->rank() == world->world() - 1 ? "other" : "same";
  BOOST_CHECK_EXCEPTION(require_same(*world, "config", mine), Error, [](Error const& e) {
    return std::string(e.what()).find(concat("Rank ", world->world() - 1, " has another config than rank 0")) == 0;
  });
}

// Each rank sends its share of all others' pieces and its own result to all: 2 (n - 1) / n of the message.
BOOST_AUTO_TEST_CASE(bytes_sent_are_counted) {
  std::int64_t const n = world->world();
  if (n == 1) return;
  world->set_grid(ProcessGrid({1, 1, 1, n, 1}));
  std::int64_t const before = world->bytes_sent(), count = 12 * 1000 * n;
  Buffer b = filled(DType::fp32, count, *world->rank());
  world->launch(AllReduce{.data = b.tensor, .group = {Axis::data}});
  BOOST_TEST(world->bytes_sent() - before == 2 * (n - 1) * count / n * 4);
}

BOOST_AUTO_TEST_CASE(a_grid_of_another_size_is_refused) {
  BOOST_CHECK_THROW(world->set_grid(ProcessGrid({1, 1, 1, world->world() + 1, 1})), Error);
}

BOOST_AUTO_TEST_SUITE_END()

int main(int argc, char** argv) {
  world = make_mpi_comm();
  int const code = boost::unit_test::unit_test_main(&init_unit_test, argc, argv);
  world.reset();
  return code;
}
