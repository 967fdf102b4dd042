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
  shared_not_asked_for,     ///< 48 KiB of dynamic shared memory beside static, as much as a block gets of both
  unwritten_shared          ///< shared memory is read that nothing was written to
};

enum class ProductBug {
  none,
  not_begun,           ///< a warpgroup's product without begin_products()
  copies_not_shown,    ///< its operand's copies without show_to_products()
  read_too_early,      ///< its sums before they have been waited for
  copied_over,         ///< its operand as well
  not_waited_for,      ///< its thread ends before
  outside_of_memory,   ///< its operand lies, in part, behind the end
  not_uniform,         ///< a warp's lanes disagree about it
  not_of_the_group,    ///< a group's warps do
  left_out,            ///< one of its warps does not start it
  waited_for_by_some,  ///< one of its warps does not wait with the others
  sums_written,        ///< its sums are, while it is under way
  operand_written      ///< its left operand in registers is
};
/// out[i] = x[i] + 0 times a product of what is copied of x; 128 elements, one warpgroup.
void add_product(Cuda const& cuda, float const* x, float* out, ProductBug bug);

/// out[i] = sum over the 64 elements of i's block of x, plus their first; x and out have 128 elements, two blocks.
void sum_of_blocks(Cuda const& cuda, float const* x, float* out, Bug bug);
/// out[i] = x of the next lane of i's warp, through shared memory; `barrier` false is the bug.
void rotate_warps(Cuda const& cuda, float const* x, float* out, bool barrier);

}  // namespace selenite::shim
