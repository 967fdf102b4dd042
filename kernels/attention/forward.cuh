#pragma once
#include "kernels/attention/block.cuh"

/// What the forward passes share.
namespace selenite::attention_cuda {

template <class T>
struct ForwardArguments {
  Inputs<T> in;
  Output<T> out;
  float* logsumexp;
  bool merge;
};
template <class T>
ForwardArguments<T> forward_arguments(Cuda const& cuda, Attention const& op) {
  return {inputs_of<T>(cuda, op), output_of<T>(op.out, op.shape.head_dim, op.merge), data_of<float>(op.logsumexp),
          op.merge};
}

/// Of a row: exponentials are taken from `top`, in units of log 2.
struct RowState {
  float top = -infinity, sum = 0;

  /// A row's maximum may grow by so much (a factor of 2^8 in its exponentials) before its sums are brought to the new
  /// one, which should be rare.
  static constexpr float slack = 8;

  /// Takes in a maximum; returns what the row's other sums are to be multiplied by.
  __device__ float raise(float maximum) {
    if (!(maximum > top + slack)) return 1;
    float const correction = exp2f(top - maximum);
    top = maximum, sum *= correction;
    return correction;
  }
  /// What exponents are taken from: finite, so that in a row that has seen nothing 2^(-inf - 0) = 0.
  __device__ float base() const { return top == -infinity ? 0.0f : top; }
};

/// Writes the row's logsumexp; `lse` null: there is no such row.
__device__ inline RowFactors finish_row(RowState const& state, float* lse, bool merge) {
  bool const none = state.sum == 0;  // NaN is not none
  float const here = none ? -infinity : (state.top + log2f(state.sum)) / static_cast<float>(log2e);
  RowFactors factors{none ? 0.0f : 1.0f / state.sum, 0};
  if (!lse) return factors;
  float all = here;
  if (merge) {
    float const there = *lse, top = fmaxf(here, there);
    all = top;
    if (top > -infinity) {
      float const from_there = expf(there - top), from_here = expf(here - top), sum = from_there + from_here;
      factors = {factors.sums * (from_here / sum), from_there / sum};
      all = top + logf(sum);
    }
  }
  *lse = all;
  return factors;
}

}  // namespace selenite::attention_cuda
