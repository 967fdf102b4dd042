#pragma once
#include "kernels/attention/attention.hpp"

/// Flash attention in 16 bits on tensor cores, in the scheme of FlashAttention-2 (Dao 2023): each warp has rows of its
/// own, and what it multiplies next stays in its registers.
namespace selenite {

void launch_on_tensor_cores(Cuda const& cuda, Attention const& op);
/// With op.delta made. dq by blocks of queries and dk, dv by blocks of keys, in launches of their own.
void launch_on_tensor_cores(Cuda const& cuda, AttentionBackward const& op);

}  // namespace selenite
