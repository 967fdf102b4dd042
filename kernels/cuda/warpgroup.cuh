#pragma once
#include <cstdint>
#include <cuda_runtime.h>
#include <type_traits>

#include "core/dtype.hpp"

// Products by warpgroups, four warps each, on Hopper's tensor cores: wgmma, of sm_90a alone. A product is started by
// all warps of a group, reads its right operand from shared memory, and is waited for later; until then nobody may
// touch its sums or write its operands. Everything here is called by whole warpgroups. The host shim of the tests has
// its own versions.
namespace selenite {

constexpr int warpgroup_warps = 4, warpgroup_rows = 64;  ///< rows of a product, 16 a warp

/// Rows of 16-bit elements in shared memory as wgmma reads them: tiles of columns one after the other, a tile's rows of
/// `row_bytes` (32, 64 or 128) as well, and of each row the 16-byte chunks in another order: chunk c of row r lies at c
/// ^ swizzle(r), so that the same chunk of eight rows is in different banks. (PTX ISA, "Shared Memory Matrix Layout"; a
/// tile begins at a multiple of 8 row_bytes.)
template <int row_bytes>
struct Swizzle {
  static_assert(row_bytes == 32 || row_bytes == 64 || row_bytes == 128);
  static constexpr int chunks = row_bytes / 16, mode = row_bytes == 128 ? 1 : row_bytes == 64 ? 2 : 3;
  static __device__ int swizzle(int row) { return row * row_bytes / 128 % chunks; }
};

/// What a product is told of such a matrix (PTX ISA, "Matrix Descriptor"): where it begins, the bytes from one tile of
/// columns to the next, where it spans several, and from eight rows to the next eight.
struct MatrixDescriptor {
  std::uint32_t start, strides;  ///< in units of 16 bytes, with the rest of their fields
  __device__ std::uint64_t bits() const { return start | static_cast<std::uint64_t>(strides) << 32; }
  /// The matrix that begins `bytes` later, in the same shared memory.
  __device__ MatrixDescriptor further(int bytes) const {
    return {start + static_cast<std::uint32_t>(bytes / 16), strides};
  }
};
template <int row_bytes>
__device__ MatrixDescriptor describe_matrix(std::uint32_t shared_address, int tile_bytes) {
  return {(shared_address & 0x3ffff) >> 4 | static_cast<std::uint32_t>(tile_bytes >> 4) << 16,
          static_cast<std::uint32_t>(8 * row_bytes >> 4) | static_cast<std::uint32_t>(Swizzle<row_bytes>::mode) << 30};
}

/// How the right operand lies in shared memory: [cols, 16] or, read as its transpose, [16, cols].
enum class RightOperand { transposed, plain };

}  // namespace selenite

#ifndef SELENITE_SHIM
namespace selenite {

__device__ inline std::uint32_t shared_address(void const* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}
/// What this thread has written to shared memory, or waited for, is seen by products after the next barrier.
__device__ inline void show_to_products() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/// Before products are started: registers that others have written are ready.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// Those that were started since the last call are a batch.
__device__ inline void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits for all batches but the last few; not in a branch that only some of the group's warps take.
template <int batches>
__device__ void wait_for_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(batches) : "memory");
}
/// Registers of a product are not touched before, or after, this: the compiler does not see that an instruction that it
/// has passed still writes them.
template <int tiles>
__device__ void hold_sums(float (&sums)[tiles][4]) {
#pragma unroll
  for (int j = 0; j < tiles; ++j)
#pragma unroll
    for (int l = 0; l < 4; ++l) asm volatile("" : "+f"(sums[j][l])::"memory");
}

/// The same for registers of a left operand: what is made of later values is not put into them before this.
template <int words>
__device__ void hold_operand(std::uint32_t (&operand)[words]) {
#pragma unroll
  for (int l = 0; l < words; ++l) asm volatile("" : "+r"(operand[l])::"memory");
}
/// Whether it is so for any thread of the block's warpgroup number `group`, whose threads meet here.
__device__ inline bool any_of_warpgroup(int group, bool so) {
  int any;
  asm volatile(
      "{\n.reg .pred one, all;\nsetp.ne.b32 one, %1, 0;\nbarrier.cta.red.or.aligned.pred all, %2, %3, one;\n"
      "selp.s32 %0, 1, 0, all;\n}"
      : "=r"(any)
      : "r"(static_cast<int>(so)), "r"(1 + group), "n"(warpgroup_warps * 32)  // barrier 0 is the block's
      : "memory");
  return any != 0;
}

// An instruction names every register: the sums, 4 a tile of 16 x 8, then the operands.
#define SELENITE_SUMS(j) "+f"(sums[j][0]), "+f"(sums[j][1]), "+f"(sums[j][2]), "+f"(sums[j][3])
#define SELENITE_SUMS_8                                                                                       \
  SELENITE_SUMS(0), SELENITE_SUMS(1), SELENITE_SUMS(2), SELENITE_SUMS(3), SELENITE_SUMS(4), SELENITE_SUMS(5), \
      SELENITE_SUMS(6), SELENITE_SUMS(7)
#define SELENITE_SUMS_10 SELENITE_SUMS_8, SELENITE_SUMS(8), SELENITE_SUMS(9)
#define SELENITE_SUMS_12 SELENITE_SUMS_10, SELENITE_SUMS(10), SELENITE_SUMS(11)
#define SELENITE_SUMS_16 SELENITE_SUMS_12, SELENITE_SUMS(12), SELENITE_SUMS(13), SELENITE_SUMS(14), SELENITE_SUMS(15)
#define SELENITE_NAMES_8                                                                                           \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31"
#define SELENITE_NAMES_10 SELENITE_NAMES_8 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define SELENITE_NAMES_12 SELENITE_NAMES_10 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define SELENITE_NAMES_16 \
  SELENITE_NAMES_12 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
/// REST: the operands' names, of a and b, with those of `adds` before them and of the orders behind.
#define SELENITE_WGMMA(TYPE, SHAPE, TILES, ADDS, REST, ...)                                                            \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, " ADDS ", 0;\nwgmma.mma_async.sync.aligned." SHAPE ".f32." TYPE \
               "." TYPE " {" SELENITE_NAMES_##TILES "}, " REST ";\n}"                                                  \
               : SELENITE_SUMS_##TILES                                                                                 \
               : __VA_ARGS__)
#define SELENITE_WGMMA_OF(SHAPE, TILES, ADDS, REST, ...)           \
  if constexpr (std::is_same_v<T, bf16>)                           \
    SELENITE_WGMMA("bf16", SHAPE, TILES, ADDS, REST, __VA_ARGS__); \
  else                                                             \
    SELENITE_WGMMA("f16", SHAPE, TILES, ADDS, REST, __VA_ARGS__)
#define SELENITE_REGISTERS \
  "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.bits()), "r"(static_cast<int>(adds)), "n"(plain)

/// sums [64, 8 tiles] = (adds: +=) a [64, 16] b; of a and the sums each warp has the registers of 16 rows, as in
/// multiply_add of tensor_core.cuh.
template <class T, RightOperand order, int tiles>
__device__ void start_product(float (&sums)[tiles][4], std::uint32_t const (&a)[4], MatrixDescriptor b, bool adds) {
  static_assert(tiles == 8 || tiles == 10 || tiles == 12 || tiles == 16);
  constexpr int plain = order == RightOperand::plain;
  if constexpr (tiles == 8) {
    SELENITE_WGMMA_OF("m64n64k16", 8, "%37", "{%32, %33, %34, %35}, %36, adds, 1, 1, %38", SELENITE_REGISTERS);
  } else if constexpr (tiles == 10) {
    SELENITE_WGMMA_OF("m64n80k16", 10, "%45", "{%40, %41, %42, %43}, %44, adds, 1, 1, %46", SELENITE_REGISTERS);
  } else if constexpr (tiles == 12) {
    SELENITE_WGMMA_OF("m64n96k16", 12, "%53", "{%48, %49, %50, %51}, %52, adds, 1, 1, %54", SELENITE_REGISTERS);
  } else {
    SELENITE_WGMMA_OF("m64n128k16", 16, "%69", "{%64, %65, %66, %67}, %68, adds, 1, 1, %70", SELENITE_REGISTERS);
  }
}
/// The same with a [64, 16] in shared memory and b [8 tiles, 16] transposed.
template <class T, int tiles>
__device__ void start_product(float (&sums)[tiles][4], MatrixDescriptor a, MatrixDescriptor b, bool adds) {
  static_assert(tiles == 8 || tiles == 16);
  if constexpr (tiles == 8) {
    SELENITE_WGMMA_OF("m64n64k16", 8, "%34", "%32, %33, adds, 1, 1, 0, 0", "l"(a.bits()), "l"(b.bits()),
                      "r"(static_cast<int>(adds)));
  } else {
    SELENITE_WGMMA_OF("m64n128k16", 16, "%66", "%64, %65, adds, 1, 1, 0, 0", "l"(a.bits()), "l"(b.bits()),
                      "r"(static_cast<int>(adds)));
  }
}

#undef SELENITE_REGISTERS
#undef SELENITE_WGMMA_OF
#undef SELENITE_WGMMA
#undef SELENITE_NAMES_16
#undef SELENITE_NAMES_12
#undef SELENITE_NAMES_10
#undef SELENITE_NAMES_8
#undef SELENITE_SUMS_16
#undef SELENITE_SUMS_12
#undef SELENITE_SUMS_10
#undef SELENITE_SUMS_8
#undef SELENITE_SUMS

}  // namespace selenite
#endif
