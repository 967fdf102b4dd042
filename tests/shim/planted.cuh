#pragma once
#include "core/cuda.hpp"

/// Kernels with one bug each, and the same without it; for the test of the shim alone.
namespace selenite::shim {

enum class Bug {
  none,
  shared_beyond_end,        ///< static shared memory, one element too far
  dynamic_beyond_end,       ///< the same in dynamic shared memory
  copy_beyond_end,          ///< the same, by an asynchronous copy
  global_write_beyond_end,  ///< one element behind the output
  global_read_beyond_end,   ///< one element behind the input
  missing_barrier,          ///< read before all have written
  missing_second_barrier,   ///< written again before all have read
  divergent_barrier,        ///< some threads wait at another __syncthreads()
  exited_thread,            ///< some threads have ended before one
  exited_lane,              ///< a lane of the mask has ended
  lane_outside_mask,        ///< a value of a lane that takes no part
  divergent_tile,           ///< some lanes do not make a call that is the whole warp's
  misaligned,               ///< 16 bytes from an address that is no multiple
  unwritten_shared          ///< shared memory is read that nothing was written to
};

/// out[i] = sum over the 64 elements of i's block of x, plus their first; x and out have 128 elements, two blocks.
void sum_of_blocks(Cuda const& cuda, float const* x, float* out, Bug bug);
/// out[i] = x of the next lane of i's warp, through shared memory; `barrier` false is the bug.
void rotate_warps(Cuda const& cuda, float const* x, float* out, bool barrier);

}  // namespace selenite::shim
