#include "comm/comm.hpp"
#include "core/error.hpp"

namespace selenite {

std::unique_ptr<Comm> make_nccl_comm(std::unique_ptr<Comm>) {
  throw Error(
      "This build can't use NCCL (it was configured with SELENITE_NCCL=OFF). Build with -DSELENITE_CUDA=ON "
      "-DSELENITE_NCCL=ON, or let the ranks share one device by run.comm = \"threads\".");
}

}  // namespace selenite
