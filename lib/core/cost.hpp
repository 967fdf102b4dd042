#pragma once
#include <cstdint>

#include "core/dtype.hpp"
#include "core/grid.hpp"

namespace selenite {

/// The kind of work an operation is. lib/exec prices each kind from the Machine.
enum class Work : std::uint8_t {
  gemm,
  attention,
  stream,
  all_reduce,
  all_gather,
  reduce_scatter,
  all_to_all,
  broadcast,
  send,
  recv,
  host
};

/// What an operation costs, said beside the operation. FLOPs are the executed ones (a multiply-add is two).
struct Cost {
  Work work = Work::stream;
  double flops = 0;  ///< executed FLOPs of matrix work; streams count none
  /// FLOPs by the convention of the published tables: attention counted whole, whatever the mask hides, and its
  /// backward without what flash attention makes again. Negative: the same as flops.
  double model_flops = -1;
  double bytes = 0;      ///< bytes read and written in memory; for a collective, the bytes of the whole message
  double logits = 0;     ///< that a cross entropy passes over, forward or backward
  double gradients = 0;  ///< that are about to be summed over their ranks
  double draws = 0;      ///< random decisions of flash attention's dropout, beside its FLOPs
  std::int64_t m = 0, n = 0, k = 0,
               batch = 1;  ///< GEMM sizes; attention: m queries, n keys, k head size, batch = samples x heads
  bool backward = false;   ///< of attention and of a cross entropy
  /// Of `bytes` of a GEMM: its results, written (and, accumulating, read) when the multiplying is done.
  double result_bytes = 0;
  DType dtype = DType::fp32;  ///< of the GEMM's or attention's inputs, of the collective's elements
  AxisSet group;              ///< of a collective: the axes it runs over
  std::int64_t peer = -1;     ///< of a message: the rank at its other end
};

}  // namespace selenite
