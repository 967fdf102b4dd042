#define BOOST_TEST_MODULE comm
#include "comm/comm.hpp"

#include <boost/test/unit_test.hpp>
#include <cstring>

#include "core/error.hpp"

using namespace selenite;

BOOST_AUTO_TEST_SUITE(self)

BOOST_AUTO_TEST_CASE(one_rank_alone_keeps_its_data) {
  auto const comm = make_self_comm();
  comm->set_grid(ProcessGrid());
  float values[] = {1, 2, 3}, out[] = {0, 0, 0};
  Tensor const data = Tensor::of(values, {3}), output = Tensor::of(out, {3});
  comm->launch(AllReduce{.data = data, .group = AxisSet::all()});
  comm->launch(Broadcast{.data = data, .group = AxisSet::all()});
  BOOST_TEST(values[2] == 3);
  comm->launch(AllGather{.input = data, .output = output, .group = AxisSet::all()});
  BOOST_TEST(out[1] == 2);
  comm->launch(ReduceScatter{.input = output, .output = data, .group = AxisSet::all()});
  BOOST_TEST(values[0] == 1);
  BOOST_TEST(comm->all_gather("x") == std::vector<std::string>{"x"}, boost::test_tools::per_element());
  BOOST_CHECK_THROW(comm->set_grid(ProcessGrid({1, 1, 1, 2, 1})), Error);
  BOOST_CHECK_NO_THROW(require_same(*comm, "config", "text"));
}

BOOST_AUTO_TEST_CASE(a_launcher_is_known_by_its_variables) {
  BOOST_TEST(!started_by_mpi([](char const*) -> char const* { return nullptr; }));
  BOOST_TEST(started_by_mpi(
      [](char const* name) -> char const* { return std::strcmp(name, "OMPI_COMM_WORLD_SIZE") ? nullptr : "2"; }));
  BOOST_TEST(
      started_by_mpi([](char const* name) -> char const* { return std::strcmp(name, "PMIX_RANK") ? nullptr : "0"; }));
}

BOOST_AUTO_TEST_CASE(a_launcher_tells_how_many_it_started) {
  BOOST_TEST(launched_ranks([](char const*) -> char const* { return nullptr; }) == 0);
  BOOST_TEST(launched_ranks([](char const* name) -> char const* {
               return std::strcmp(name, "SLURM_STEP_NUM_TASKS") ? nullptr : "3072";
             }) == 3072);
}

BOOST_AUTO_TEST_CASE(costs_are_the_bytes_of_the_whole_message) {
  Tensor const part(nullptr, DType::bf16, {100}), whole(nullptr, DType::bf16, {400});
  BOOST_TEST(cost(AllReduce{.data = whole}).bytes == 800);
  BOOST_TEST(cost(AllGather{.input = part, .output = whole}).bytes == 800);
  BOOST_TEST(cost(ReduceScatter{.input = whole, .output = part}).bytes == 800);
  BOOST_TEST(cost(Broadcast{.data = whole}).bytes == 800);
}

BOOST_AUTO_TEST_CASE(bytes_sent_by_hand) {
  Tensor const ten(nullptr, DType::bf16, {10}), thirty(nullptr, DType::bf16, {30});
  // Of 10 elements three ranks reduce 3, 3 and 4: each sends the others' pieces, then its own to two.
  BOOST_TEST(sent_bytes(AllReduce{.data = ten}, 3, 0) == (7 + 2 * 3) * 2);
  BOOST_TEST(sent_bytes(AllReduce{.data = ten}, 3, 2) == (6 + 2 * 4) * 2);
  BOOST_TEST(sent_bytes(AllGather{.input = ten, .output = thirty}, 3, 1) == 2 * 20);
  BOOST_TEST(sent_bytes(ReduceScatter{.input = thirty, .output = ten}, 3, 1) == 2 * 20);
  BOOST_TEST(sent_bytes(Broadcast{.data = ten, .root = 1}, 3, 1) == 20);
  BOOST_TEST(sent_bytes(Broadcast{.data = ten, .root = 1}, 3, 0) == 0);
  BOOST_TEST(sent_bytes(RingShift{.send = ten, .recv = ten}, 3, 0) == 20);
  BOOST_TEST(sent_bytes(Send{.data = ten}) == 20);
  BOOST_TEST(sent_bytes(Recv{.data = ten}) == 0);
  // All ranks together send every element twice to all but one, whatever the pieces are.
  for (std::int64_t n : {2, 3, 5, 16})
    for (std::int64_t count : {1, 7, 3000001}) {
      std::int64_t sum = 0;
      for (std::int64_t r = 0; r < n; ++r)
        sum += sent_bytes(AllReduce{.data = Tensor(nullptr, DType::fp32, {count})}, n, r);
      BOOST_TEST(sum == 2 * (n - 1) * count * 4);
    }
}

BOOST_AUTO_TEST_CASE(bytes_are_kept_by_group_and_by_channel) {
  SentBytes sent;
  sent[AxisSet{Axis::data}] += 5;
  sent[AxisSet{Axis::data, Axis::tensor}] += 7;
  sent[Channel::tied] += 11;
  BOOST_TEST(sent.total() == 23);
  SentBytes twice = sent;
  twice.add(sent, 1);
  BOOST_TEST(twice[Channel::tied] == 22);
  BOOST_TEST(twice[AxisSet{Axis::data}] == 10);
  BOOST_TEST(twice[Channel::forward] == 0);
  BOOST_TEST((twice != sent));
}

BOOST_AUTO_TEST_CASE(one_rank_alone_has_no_peer) {
  float value = 0;
  BOOST_CHECK_THROW(make_self_comm()->launch(Recv{.data = Tensor::of(&value, {1}), .from = Rank(1)}), Error);
}

BOOST_AUTO_TEST_SUITE_END()
