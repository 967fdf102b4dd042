#include "comm/comm.hpp"
#include "core/error.hpp"

namespace selenite {

std::unique_ptr<Comm> make_mpi_comm() {
  throw Error(
      "This build can't use MPI (it was configured with SELENITE_MPI=OFF). Use run.comm = \"self\", or build with "
      "-DSELENITE_MPI=ON.");
}

}  // namespace selenite
