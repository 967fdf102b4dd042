#pragma once
#include "kernels/attention/attention.hpp"

/// Flash attention in 16 bits by Hopper's asynchronous products (wgmma), in the scheme of FlashAttention-3 (Shah et al.
/// 2024): what a warpgroup makes of one block's scores passes while its next products are under way.
namespace selenite {

/// False: nothing was done, as the device, the build or the shape is not for this; launch_on_tensor_cores() is.
bool launch_on_warpgroups(Cuda const& cuda, Attention const& op);
/// With op.delta made; dq and dk, dv as launch_on_tensor_cores() has them.
bool launch_on_warpgroups(Cuda const& cuda, AttentionBackward const& op);

}  // namespace selenite
