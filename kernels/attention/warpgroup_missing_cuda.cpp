// In builds without sm_90a.
#include "kernels/attention/warpgroup_cuda.hpp"

namespace selenite {

bool launch_on_warpgroups(Cuda const&, Attention const&) { return false; }
bool launch_on_warpgroups(Cuda const&, AttentionBackward const&) { return false; }

}  // namespace selenite
