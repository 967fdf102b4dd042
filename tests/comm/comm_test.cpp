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

BOOST_AUTO_TEST_CASE(costs_are_the_bytes_of_the_whole_message) {
  Tensor const part(nullptr, DType::bf16, {100}), whole(nullptr, DType::bf16, {400});
  BOOST_TEST(cost(AllReduce{.data = whole}).bytes == 800);
  BOOST_TEST(cost(AllGather{.input = part, .output = whole}).bytes == 800);
  BOOST_TEST(cost(ReduceScatter{.input = whole, .output = part}).bytes == 800);
  BOOST_TEST(cost(Broadcast{.data = whole}).bytes == 800);
}

BOOST_AUTO_TEST_SUITE_END()
