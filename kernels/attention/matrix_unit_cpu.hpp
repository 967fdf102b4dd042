#pragma once
#include <algorithm>
#include <cstdint>

#include "kernels/attention/simd_cpu.hpp"

/// The matrix unit of x86 processors (AMX): products of 16 x 16 sums over 16 pairs of bf16, in the order in which
/// Pairs are packed anyway. SELENITE_ATTENTION_TILES=1 computes the same in plain loops, so that what lies around it is
/// tested everywhere.
namespace selenite::attention_cpu {

template <class Element>
struct Matrix {
  Element* data;
  std::int64_t stride;  ///< elements from row to row
};

#if (defined(__AMX_BF16__) && !SELENITE_ATTENTION_PAIRS) || SELENITE_ATTENTION_TILES
inline constexpr bool builds_matrix_unit = true;
#else
inline constexpr bool builds_matrix_unit = false;
#endif

/// This thread's matrix unit while it lives. Not ready where the build, the processor or the system has none: Linux
/// gives its registers to those who ask.
class MatrixUnit {
 public:
  static constexpr std::int64_t tile = 16;  ///< rows and columns of sums, and pairs that are summed at once
  MatrixUnit();
  ~MatrixUnit();
  MatrixUnit(MatrixUnit const&) = delete;
  MatrixUnit& operator=(MatrixUnit const&) = delete;
  bool ready() const { return ready_; }
  /// C[m][n] (+)= sum over g of A[m][g] B[g][n], pairs of bf16 each; m, n and groups are multiples of `tile`.
  void multiply(std::int64_t m, std::int64_t n, std::int64_t groups, Matrix<std::uint32_t const> a,
                Matrix<std::uint32_t const> b, Matrix<float> c, bool accumulate) const;

 private:
  bool ready_ = false;
};

}  // namespace selenite::attention_cpu
