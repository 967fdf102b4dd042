#include "comm/mover.hpp"
#include "core/error.hpp"

namespace selenite {

std::unique_ptr<Mover> make_cuda_mover(Cuda&) {
  throw Error(
      "Ranks can't exchange device memory (this program was built without CUDA). Build with -DSELENITE_CUDA=ON.");
}

}  // namespace selenite
