#pragma once
#include "core/kernel.hpp"
#include "core/tensor.hpp"

namespace selenite {

// Rounding to 8 bits with a scale a tensor (Micikevicius et al. 2022, "FP8 Formats for Deep Learning"). Scales are
// powers of two: multiplying by one is exact, and what is in the normal range is rounded alike under any. So where two
// trainings find largest magnitudes that differ by a rounding, nothing else differs.

/// y = x * scale, rounded to nearest even and saturated; `transposed` is its transpose, for hardware that multiplies
/// only matrices whose rows run along the sum.
struct Quantize {
  Tensor x;              ///< fp32, bf16 or fp16 [rows, cols]; rows may be strided
  Tensor y, transposed;  ///< e4m3 or e5m2 [rows, cols] and [cols, rows], contiguous; undefined: not wanted
  Tensor scale;          ///< fp32 [1]
  Tensor amax;           ///< fp32 [1]: becomes the larger of itself and max |x|, NaN ignored; undefined: not wanted

  DType dtype() const { return (y.defined() ? y : transposed).dtype(); }
};
void reference(Quantize const& op);
void launch(Cpu& cpu, Quantize const& op);
void launch(Cuda& cuda, Quantize const& op);
Cost cost(Quantize const& op);
std::int64_t workspace(Quantize const& op, std::int64_t budget);
static_assert(Kernel<Quantize>);

/// amax becomes the larger of itself and max |x|; NaN is ignored.
struct AbsMax {
  Tensor x;     ///< fp32, bf16 or fp16
  Tensor amax;  ///< fp32 [1]
};
void reference(AbsMax const& op);
void launch(Cpu& cpu, AbsMax const& op);
void launch(Cuda& cuda, AbsMax const& op);
Cost cost(AbsMax const& op);
std::int64_t workspace(AbsMax const& op, std::int64_t budget);
static_assert(Kernel<AbsMax>);

/// Delayed scaling of n tensors. With `push`, amax moves into the history, newest first, and becomes 0; one that is not
/// finite leaves no trace there. Then scale is the largest power of two that keeps the history's largest magnitude,
/// times 2^margin, within `largest`; `initial` where the history is empty, which is to say zero. inverse = 1 / scale.
struct UpdateScales {
  Tensor amax;            ///< fp32 [n]
  Tensor history;         ///< fp32 [n, steps]
  Tensor scale;           ///< fp32 [n]
  Tensor inverse;         ///< fp32 [n, 1]; rows may be strided: products want each at its own 16 bytes
  double largest = 448;   ///< of the format
  double initial = 1;     ///< a power of two
  std::int64_t margin = 0;
  bool push = true;
};
void reference(UpdateScales const& op);
void launch(Cpu& cpu, UpdateScales const& op);
void launch(Cuda& cuda, UpdateScales const& op);
Cost cost(UpdateScales const& op);
std::int64_t workspace(UpdateScales const& op, std::int64_t budget);
static_assert(Kernel<UpdateScales>);

}  // namespace selenite
