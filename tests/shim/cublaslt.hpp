#pragma once
#include <vector>

#include "tests/shim/include/cublasLt.h"

/// What the stand-in for cuBLASLt saw. It checks descriptions as the library does, chooses an "algorithm" that holds
/// for one problem, its alignments and its scratch alone, and multiplies in plain loops.
namespace selenite::shim {

struct LtMatrix {
  cudaDataType_t type;
  std::int32_t batch;
  std::uint64_t rows, cols;
  std::int64_t leading_dimension, batch_stride;
  bool operator==(LtMatrix const&) const = default;
};

/// What a product is asked to be: D = alpha op(A) op(B) + beta C (+ bias), column-major; and what else its epilogue
/// makes.
struct LtProblem {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t op_a, op_b;
  cublasLtEpilogue_t epilogue;
  cudaDataType_t bias_type;
  std::int64_t aux_leading_dimension;
  std::int8_t fast_accumulation;
  LtMatrix a, b, c, d;
  bool operator==(LtProblem const&) const = default;

  std::uint64_t m() const { return d.rows; }
  std::uint64_t n() const { return d.cols; }
  std::uint64_t k() const { return op_a == CUBLAS_OP_N ? a.cols : a.rows; }
};

/// One call of cublasLtMatmul.
struct LtProduct {
  LtProblem problem;
  float alpha, beta;
  void const *a, *b, *bias, *aux;
  float const *a_scale, *b_scale;  ///< null: 1
  void* d;
  std::size_t workspace;
  cudaStream_t stream;
};
/// One question for an algorithm.
struct LtChoice {
  LtProblem problem;
  std::uint64_t workspace;
  std::uint32_t reduction_schemes;
};

struct LtRecord {
  int handles = 0, destroyed = 0;       ///< made, and given back
  std::int64_t capturable = INT64_MAX;  ///< products that may still be captured
  bool has_epilogues = true;            ///< of GELU and of biases' gradients: set by tests
  bool multiplies_epilogues = true;     ///< false: the heuristic has an algorithm for them that cublasLtMatmul refuses
  cublasStatus_t refusal = CUBLAS_STATUS_NOT_SUPPORTED;  ///< what is said to one that it does not have
  int refused = 0;                                       ///< by cublasLtMatmul
  std::vector<LtChoice> choices;
  std::vector<LtProduct> products;
};
/// Of this OS thread.
LtRecord& lt_record();

}  // namespace selenite::shim
