#pragma once
#include "kernels/attention/block.cuh"

/// What the backward passes share.
namespace selenite::attention_cuda {

template <class T>
struct BackwardArguments {
  Inputs<T> in;
  RowsOf<T const> dout;
  float const *logsumexp, *delta;
  Output<T> dq, dk, dv;
};
template <class T>
BackwardArguments<T> backward_arguments(Cuda const& cuda, AttentionBackward const& op) {
  std::int64_t const head_dim = op.shape.head_dim;
  return {inputs_of<T>(cuda, op, op.dout),
          rows_of<T const>(op.dout),
          data_of<float const>(op.logsumexp),
          data_of<float const>(op.delta),
          output_of<T>(op.dq, head_dim, op.accumulate),
          output_of<T>(op.dk, head_dim, op.accumulate),
          output_of<T>(op.dv, head_dim, op.accumulate)};
}

/// A row's logsumexp in units of log 2, for exponents; of a row that sees nothing such that P = 0.
__device__ inline float exponent_base(float logsumexp) {
  return logsumexp == -infinity ? infinity : logsumexp * static_cast<float>(log2e);
}

/// Which gradients of keys one launch makes: at 256 elements, registers hold the sums of one.
enum class Gradients { both, dk, dv };

}  // namespace selenite::attention_cuda
