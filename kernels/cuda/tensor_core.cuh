#pragma once
#include <cstdint>
#include <cuda_runtime.h>

#include "core/dtype.hpp"

// Tensor cores by the instructions of sm_80 and later, on 16-bit elements with sums in fp32. Every call is made by a
// whole warp. Two elements share a register, the first in its lower half. The host shim of the tests has its own
// versions.
#ifndef SELENITE_SHIM
namespace selenite {

/// Four 8 x 8 matrices from shared memory: lane l gives where row l % 8 of matrix l / 8 begins (a multiple of 16
/// bytes), and gets elements 2 (l % 4) and the next of row l / 4 of each.
__device__ inline void load_matrices(std::uint32_t (&to)[4], void const* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}
/// Of the transposed matrices: lane l gets elements l / 4 of rows 2 (l % 4) and the next.
__device__ inline void load_matrices_transposed(std::uint32_t (&to)[4], void const* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}

/// sums [16, 8] += a [16, 16] b [16, 8]. With g = lane / 4 and c = 2 (lane % 4), a lane has of the sums (g, c), (g, c +
/// 1), (g + 8, c), (g + 8, c + 1); of a, as pairs along a row, (g, c), (g + 8, c), (g, c + 8), (g + 8, c + 8); of b, as
/// pairs along a column, (c, g) and (c + 8, g).
template <class T>
__device__ void multiply_add(float (&sums)[4], std::uint32_t const (&a)[4], std::uint32_t b0, std::uint32_t b1);
template <>
__device__ inline void multiply_add<bf16>(float (&sums)[4], std::uint32_t const (&a)[4], std::uint32_t b0,
                                          std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ inline void multiply_add<fp16>(float (&sums)[4], std::uint32_t const (&a)[4], std::uint32_t b0,
                                          std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace selenite
#endif
