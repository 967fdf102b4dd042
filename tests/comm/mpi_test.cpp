// Run under mpirun with any number of ranks: the table of checks on the MPI backend.
#define BOOST_TEST_MODULE comm_mpi
#define BOOST_TEST_NO_MAIN
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <iostream>

#include "checks.hpp"

using namespace selenite;

namespace {
std::unique_ptr<Comm> world;  // MPI starts once a process
}

BOOST_DATA_TEST_CASE(mpi, boost::unit_test::data::make(checks()), check) {
  try {
    check.run(*world);
  } catch (Error const& e) {  // the other ranks would wait for this one
    std::cerr << "rank " << world->rank() << ", " << check.name << ": " << e.what() << std::endl;
    world->abort(1);
  }
  BOOST_TEST(true);
}

int main(int argc, char** argv) {
  world = make_mpi_comm();
  int const code = boost::unit_test::unit_test_main(&init_unit_test, argc, argv);
  world.reset();
  return code;
}
