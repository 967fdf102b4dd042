#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/tensor_core.cuh"
#include "kernels/cuda/warpgroup.cuh"
#include "tests/shim/planted.cuh"

namespace selenite::shim {
namespace {

constexpr int size = 64;  // threads and elements of a block

/// The sum by warps, both added; then the first element, handed to all in shared memory of both kinds.
__global__ void planted_kernel(float const* x, float* out, Bug bug) {
  __shared__ SharedArray<float, 2> sums;
  auto const first = dynamic_shared<float>();
  int const i = static_cast<int>(threadIdx.x), at = static_cast<int>(blockIdx.x) * size + i;
  if (bug == Bug::misaligned) load_pack<4>(x + 1);
  if (bug == Bug::exited_thread && i == 40) return;
  if (bug == Bug::exited_lane && i == 3) return;
  float tile[4] = {};
  if (bug != Bug::divergent_tile || i < 40) multiply_add<bf16>(tile, {0, 0, 0, 0}, 0, 0);
  if (bug == Bug::copy_beyond_end) copy_async(&first[0] + 4, x, true);
  float const value = x[bug == Bug::global_read_beyond_end ? at + 1 : at];
  float sum = value;
  if (bug == Bug::lane_outside_mask) {
    if (i % warp_size < 16) sum += __shfl_xor_sync(0x0000ffffu, sum, 16);
  } else {
    sum = warp_reduce(sum, Sum{});
  }
  if (i % warp_size == 0) sums[bug == Bug::shared_beyond_end ? 2 * (i / warp_size) : i / warp_size] = sum;
  if (bug == Bug::divergent_barrier && i < warp_size)
    __syncthreads();
  else if (bug != Bug::missing_barrier)
    __syncthreads();
  sum = sums[0] + sums[1];
  if (bug != Bug::missing_second_barrier) __syncthreads();
  if (i == 0) sums[0] = value;
  if (i == 0 && bug != Bug::unwritten_shared) first[bug == Bug::dynamic_beyond_end ? 4 : 0] = value;
  __syncthreads();
  sum += sums[0] / 2 + first[0] / 2;
  out[bug == Bug::global_write_beyond_end && at == 2 * size - 1 ? at + 1 : at] = sum;
}

/// Lanes hand their values on in shared memory: out[i] = x of the next lane of the warp.
__global__ void rotate_kernel(float const* x, float* out, bool barrier) {
  __shared__ SharedArray<float, size> values;
  int const i = static_cast<int>(threadIdx.x), warp = i / warp_size * warp_size;
  values[i] = x[blockIdx.x * size + threadIdx.x];
  if (barrier) __syncwarp();
  out[blockIdx.x * size + threadIdx.x] = values[warp + (i + 1) % warp_size];
}

/// Of zeros and 64 rows of 32 bytes, the same 16 again and again.
__global__ void product_kernel(float const* x, float* out, ProductBug bug) {
  constexpr int row_bytes = 32, rows = 64, tile_bytes = rows * row_bytes;
  auto const shared = dynamic_shared<float>();
  int const i = static_cast<int>(threadIdx.x);
  auto copy = [&] { copy_pack_async(&shared[i * 4], x + i % 32 * 4, true); };
  copy();
  wait_for_copies();
  if (bug != ProductBug::copies_not_shown) selenite::show_to_products();
  __syncthreads();
  MatrixDescriptor b = describe_matrix<row_bytes>(shared_address(&shared[0]), tile_bytes);
  if (bug == ProductBug::outside_of_memory) b = b.further(8 * row_bytes);
  if (bug == ProductBug::not_uniform && i == 70) b = b.further(row_bytes);
  if (bug == ProductBug::not_of_the_group && i >= 96) b = b.further(row_bytes);
  float sums[8][4];
  std::uint32_t left[4] = {};
  if (bug != ProductBug::not_begun) selenite::begin_products();
  if (bug != ProductBug::left_out || i < 96)
    selenite::start_product<bf16, RightOperand::transposed>(sums, left, b, false);
  selenite::end_products();
  if (bug == ProductBug::copied_over) copy();
  if (bug == ProductBug::sums_written && i == 5) sums[3][1] = 0;
  if (bug == ProductBug::operand_written && i == 5) left[2] = 1;
  float const early = sums[0][0];
  if (bug == ProductBug::waited_for_by_some && i < 32) selenite::wait_for_products<0>();
  if (bug != ProductBug::not_waited_for) selenite::wait_for_products<0>();
  out[i] = x[i] + (bug == ProductBug::read_too_early ? early : bug == ProductBug::not_waited_for ? 0 : sums[0][0]);
}

}  // namespace

void add_product(Cuda const& cuda, float const* x, float* out, ProductBug bug) {
  launch_kernel(cuda, {1u, 128u, 64 * 32}, product_kernel, x, out, bug);
}
void sum_of_blocks(Cuda const& cuda, float const* x, float* out, Bug bug) {
  if (bug == Bug::shared_not_asked_for) {
    cudaLaunchConfig_t const config{{2u}, {static_cast<unsigned>(size)}, 48 << 10, nullptr};
    CUDA_CHECK(cudaLaunchKernelEx(&config, planted_kernel, x, out, Bug::none));
    return;
  }
  launch_kernel(cuda, {2u, static_cast<unsigned>(size), 4 * sizeof(float)}, planted_kernel, x, out, bug);
}
void rotate_warps(Cuda const& cuda, float const* x, float* out, bool barrier) {
  launch_kernel(cuda, {2u, static_cast<unsigned>(size)}, rotate_kernel, x, out, barrier);
}

}  // namespace selenite::shim
