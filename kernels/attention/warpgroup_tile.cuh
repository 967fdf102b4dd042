#pragma once
#include "kernels/attention/warp_tile.cuh"
#include "kernels/cuda/warpgroup.cuh"

/// Products of matrices of 16-bit elements by a warpgroup: of 64 rows, whose sums each warp has as a WarpTile of 16.
namespace selenite::attention_cuda {

__device__ inline int warpgroup() { return warp() / warpgroup_warps; }
/// The warp's first row of its group's.
__device__ inline int warp_row() { return warp() % warpgroup_warps * 16; }

/// At most `most`: the largest multiple of `all`, or the largest whole part of it.
constexpr int whole_share(int all, int most) {
  if (most >= all) return most / all * all;
  int parts = 2;
  while (all % parts != 0 || all / parts > most) ++parts;
  return all / parts;
}

/// A block of rows in shared memory, `depth` elements each, as products read it: with the widest tiles of columns that
/// depth is a multiple of. It begins at a multiple of swizzled_alignment bytes.
constexpr int swizzled_alignment = 1024;
template <class T, int rows, int depth>
struct SwizzledBlock {
  static constexpr int row_bytes = depth % 64 == 0   ? 128
                                   : depth % 32 == 0 ? 64
                                                     : 32,
                       tile_bytes = rows * row_bytes, bytes = rows * depth * static_cast<int>(sizeof(T));
  static_assert(bytes % swizzled_alignment == 0 && depth % 16 == 0);
  T* data;

  /// Where 16 bytes of a row lie.
  __device__ T* chunk(int row, int number) const {
    using S = Swizzle<row_bytes>;
    int const tile = number / S::chunks, c = (number % S::chunks) ^ S::swizzle(row);
    return data + (tile * tile_bytes + row * row_bytes + c * 16) / static_cast<int>(sizeof(T));
  }
  /// As the operand that is transposed, or left: rows from `row` on (a multiple of 8), elements [16 step, 16 step +
  /// 16).
  __device__ MatrixDescriptor by_rows(int row, int step) const {
    int const at = step * 32;
    return describe_matrix<row_bytes>(shared_address(data), 16)
        .further(at / row_bytes * tile_bytes + row * row_bytes + at % row_bytes);
  }
  /// As the plain right operand: rows [16 step, 16 step + 16), all columns.
  __device__ MatrixDescriptor by_columns(int step) const {
    return describe_matrix<row_bytes>(shared_address(data), tile_bytes).further(step * 16 * row_bytes);
  }

  /// As RowBlock::copy: starts the copy of `count` rows of head_dim elements; what lies beyond is zero. A thread has
  /// the same chunk of every few rows, of every tile or every few; eight threads next to each other write to different
  /// banks.
  template <int threads>
  __device__ void copy(RowsOf<T const> const& from, std::int64_t row, std::int64_t col, int count, int head_dim,
                       bool packs) const {
    constexpr int width = full_width<T>, chunks = row_bytes / 16, tile = rows * chunks, all = rows * depth / width,
                  at_once = whole_share(tile, threads);
    static_assert(at_once % tile == 0 || at_once / chunks % 8 == 0);
    int const thread = static_cast<int>(threadIdx.x), r = thread / chunks % rows,
              number = thread / tile * chunks + thread % chunks, c = number * width;
    T* const to = chunk(r, number);
    T const* const source = from[row] + col + (r * from.stride + c);
    if (thread >= at_once) return;
    auto copy_packs = [&](auto whole) {
#pragma unroll
      for (int n = 0; n < all; n += at_once) {
        int const tiles = n / tile, further = n % tile / chunks;
        if (all % at_once != 0 && n + at_once > all && thread >= all - n) return;
        copy_pack_async(to + (tiles * tile_bytes + further * row_bytes) / static_cast<int>(sizeof(T)),
                        source + (further * from.stride + tiles * chunks * width),
                        whole || (r + further < count && c + tiles * chunks * width < head_dim));
      }
    };
    if (packs && count == rows && head_dim == depth) return copy_packs(std::true_type{});  // half of the instructions
    if (packs) return copy_packs(std::false_type{});
#pragma unroll 1
    for (int n = 0; n + thread < all; n += at_once) {
      int const tiles = n / tile, further = n % tile / chunks;
      store_pack<width>(to + (tiles * tile_bytes + further * row_bytes) / static_cast<int>(sizeof(T)),
                        r + further < count ? front(source + (further * from.stride + tiles * chunks * width),
                                                    head_dim - c - tiles * chunks * width)
                                            : Pack<T, width>{});
    }
  }
};

/// The warp's 16 rows of its group's, from `row` of the block on, in registers.
template <class T, int rows, int depth>
__device__ Operand<16, depth> load_operand(SwizzledBlock<T, rows, depth> const& block, int row) {
  Operand<16, depth> x;
#pragma unroll
  for (int k = 0; k < depth / 16; ++k)
    load_matrices(x.parts[0][k], block.chunk(row + warp_row() + lane() % 16, 2 * k + lane() / 16));
  return x;
}

/// The same in all lanes of the warp, of whose lanes each has it: for branches, and for operands of the whole warp.
__device__ inline int uniform(int x) { return __shfl_sync(0xffffffffu, x, 0); }

/// A block of the other side's tokens, and how much of it is seen, alike for the compiler in all lanes.
__device__ inline TokenBlock uniform(TokenBlock const& block) {
  return {uniform(block.first), uniform(block.count), block.range};
}
__device__ inline Seen uniform(Seen seen) { return static_cast<Seen>(uniform(static_cast<int>(seen))); }

/// sums = a b^T over `depth`, b by rows.
template <class T, int depth, int cols>
__device__ void start_product(WarpTile<16, cols>& sums, Operand<16, depth> const& a,
                              SwizzledBlock<T, cols, depth> const& b) {
#pragma unroll
  for (int k = 0; k < depth / 16; ++k)
    start_product<T, RightOperand::transposed>(sums.sums[0], a.parts[0][k], b.by_rows(0, k), k > 0);
}
/// The same with the 64 rows of a from `row` on.
template <class T, int rows, int depth, int cols>
__device__ void start_product(WarpTile<16, cols>& sums, SwizzledBlock<T, rows, depth> const& a, int row,
                              SwizzledBlock<T, cols, depth> const& b) {
#pragma unroll
  for (int k = 0; k < depth / 16; ++k) start_product<T>(sums.sums[0], a.by_rows(row, k), b.by_rows(0, k), k > 0);
}
/// sums = a b^T, a in registers or in shared memory from `row` on.
template <bool in_registers, class T, int depth, int rows, int cols>
__device__ void start_either(WarpTile<16, cols>& sums, Operand<16, depth> const& held,
                             SwizzledBlock<T, rows, depth> const& a, int row, SwizzledBlock<T, cols, depth> const& b) {
  if constexpr (in_registers)
    start_product(sums, held, b);
  else
    start_product(sums, a, row, b);
}

/// sums += a b, b by rows.
template <class T, int inner, int cols>
__device__ void start_sum(WarpTile<16, cols>& sums, Operand<16, inner> const& a,
                          SwizzledBlock<T, inner, cols> const& b) {
#pragma unroll
  for (int k = 0; k < inner / 16; ++k)
    start_product<T, RightOperand::plain>(sums.sums[0], a.parts[0][k], b.by_columns(k), true);
}

/// Waits for all batches of products but the last few; `sums` are of one that is waited for, and can be used.
template <int batches, class... Tiles>
__device__ void finish_products(Tiles&... sums) {
  wait_for_products<batches>();
  (hold_sums(sums.sums[0]), ...);
}

/// Of an operand whose products have been waited for: from here on its registers may be written.
template <int rows, int cols>
__device__ void hold(Operand<rows, cols>& x) {
#pragma unroll
  for (auto& row : x.parts)
#pragma unroll
    for (auto& part : row) hold_operand(part);
}

/// The block's dynamic shared memory from the first multiple of swizzled_alignment on: `swizzled_alignment` bytes more
/// are to be asked for.
template <class T>
__device__ T* swizzled_shared() {
  auto const shared = dynamic_shared<T>();
  std::uint32_t const skipped = (0u - shared_address(&shared[0])) % swizzled_alignment;
  return &shared[static_cast<int>(skipped / sizeof(T))];
}

/// Whether the device has wgmma, and the kernels the shape.
inline bool takes_warpgroups(Cuda const& cuda, AttentionShape const& shape) {
  return cuda.device.major == 9 && cuda.device.minor == 0 && shape.head_dim <= 128 &&
         shape.library != AttentionLibrary::own_sm80;
}

/// Calls f with a value of the dtype, and as constants the depth that heads are filled up to and whether there is
/// dropout.
template <class F>
void visit_warpgroup_kernel(DType type, AttentionShape const& shape, F&& f) {
  visit_tensor_core_type(type, [&]<class T>(T) {
    auto const of_depth = [&](auto depth) {
      shape.dropout.probability > 0 ? f(T{}, depth, std::true_type{}) : f(T{}, depth, std::false_type{});
    };
    if (shape.head_dim <= 64) return of_depth(std::integral_constant<int, 64>{});
    if (shape.head_dim <= 80) return of_depth(std::integral_constant<int, 80>{});
    if (shape.head_dim <= 96) return of_depth(std::integral_constant<int, 96>{});
    return of_depth(std::integral_constant<int, 128>{});
  });
}

}  // namespace selenite::attention_cuda
