#pragma once
#include "core/cpu.hpp"
#include "kernels/gemm/gemm.hpp"

namespace selenite {

/// What a library behind the CPU GEMM gives: gemm_onednn_cpu.cpp, or gemm_plain_cpu.cpp without one.

/// The whole product by the library's own kernel for these dtypes, with scratch from cpu.workspace.
/// `unsupported`: the library has none on this processor. `too_large`: it wants more scratch than there is.
enum class Direct : std::uint8_t { done, unsupported, too_large };
Direct multiply_direct(Cpu& cpu, Gemm const& op);

/// A row-major fp32 matrix, read as its transpose if `transposed`.
struct Fp32Matrix {
  float* data = nullptr;
  std::int64_t stride = 0;
  bool transposed = false;
};
/// out[m, n] = scale a[m, k] b[k, n] (+ out), without scratch from us.
void multiply_fp32(std::int64_t m, std::int64_t n, std::int64_t k, float scale, Fp32Matrix a, Fp32Matrix b,
                   Fp32Matrix out, bool accumulate);

}  // namespace selenite
