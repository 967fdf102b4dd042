#include <algorithm>
#include <compare>
#include <cublasLt.h>
#include <map>
#include <memory>

#include "core/cuda.hpp"
#include "kernels/gemm/gemm_batch.hpp"
#include "kernels/gemm/gemm_epilogue.hpp"

namespace selenite {
namespace {

void cublas_check(cublasStatus_t status, char const* expression, char const* file, int line) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  throw Error(concat("A call of cuBLASLt failed (", expression, " at ", file, ":", line, " says ",
                     cublasLtGetStatusName(status), ": ", cublasLtGetStatusString(status),
                     "). Run again with CUBLASLT_LOG_LEVEL=1 to see what it refuses."));
}
/// Around every call of cuBLASLt, all of which are in this file: throws Error with the expression and its place.
#define CUBLAS_CHECK(expression) ::selenite::cublas_check((expression), #expression, __FILE__, __LINE__)

cudaDataType_t cuda_type(DType type) {
  switch (type) {
    case DType::fp32:
      return CUDA_R_32F;
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::fp16:
      return CUDA_R_16F;
    case DType::e4m3:
      return CUDA_R_8F_E4M3;
    case DType::e5m2:
      return CUDA_R_8F_E5M2;
    default:
      throw Error(concat("There is no CUDA matrix product in ", name(type),
                         " (there are fp32, bf16, fp16, e4m3 and e5m2). Use one of these."));
  }
}

/// The largest power of two that divides an address, as far as algorithms ask for it.
std::int64_t alignment_of(void const* p) {
  constexpr std::uintptr_t most = 256;
  auto const address = reinterpret_cast<std::uintptr_t>(p) | most;
  return static_cast<std::int64_t>(address & -address);
}

/// A matrix as the library has it: column-major. A row-major one is its own transpose there.
struct Matrix {
  DType type;
  std::int64_t rows, cols, leading_dimension, batch_stride, alignment;
  bool transposed;
  std::strong_ordering operator<=>(Matrix const&) const = default;
};
Matrix matrix_of(Tensor const& x, bool transposed, std::int64_t batch_stride) {
  return {x.dtype(), x.cols(), x.rows(), x.row_stride(), batch_stride, alignment_of(x.raw()), transposed};
}

/// All that an algorithm is chosen by. out^T = op(b)^T op(a)^T: the library's first operand is our b.
struct Problem {
  Matrix first, second, out;
  std::int64_t batch, workspace;
  std::int64_t bias_alignment;  ///< 0: no bias, nor its gradient
  bool accumulate;
  cublasLtEpilogue_t epilogue;
  std::int64_t before_stride, before_alignment;  ///< with gelu

  std::int64_t k() const { return first.transposed ? first.rows : first.cols; }
  /// Whether the library says that it does not have this epilogue, as our kernels have. To an attribute that it does
  /// not support with 8 bits it says INVALID_VALUE (as documented, beside the attributes).
  bool declined_by(cublasStatus_t status) const {
    bool const fused = epilogue != CUBLASLT_EPILOGUE_DEFAULT && epilogue != CUBLASLT_EPILOGUE_BIAS;
    return fused && (status == CUBLAS_STATUS_NOT_SUPPORTED ||
                     (status == CUBLAS_STATUS_INVALID_VALUE && size_of(first.type) == 1));
  }
  double flops() const {
    return 2.0 * static_cast<double>(batch) * static_cast<double>(out.rows) * static_cast<double>(out.cols) *
           static_cast<double>(k());
  }
  std::strong_ordering operator<=>(Problem const&) const = default;
};
cublasLtEpilogue_t epilogue_of(Gemm const& op) {
  if (op.bias_gradient.defined()) return CUBLASLT_EPILOGUE_BGRADB;  // our a is the library's second operand
  if (op.epilogue == Epilogue::gelu_backward) return CUBLASLT_EPILOGUE_DGELU;
  if (op.epilogue == Epilogue::gelu)
    return op.bias.defined() ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  return op.bias.defined() ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}
Tensor const& bias_of(Gemm const& op) { return op.bias_gradient.defined() ? op.bias_gradient : op.bias; }

Problem problem_of(Gemm const& op, GemmBatch const& batch, std::size_t workspace) {
  Tensor const& bias = bias_of(op);
  return {matrix_of(op.b, op.transpose_b, batch.b),
          matrix_of(op.a, op.transpose_a, batch.a),
          matrix_of(op.out, false, batch.out),
          batch.count,
          static_cast<std::int64_t>(workspace),
          bias.defined() ? alignment_of(bias.raw()) : 0,
          op.accumulate,
          epilogue_of(op),
          op.before.defined() ? op.before.row_stride() : 0,
          op.before.defined() ? alignment_of(op.before.raw()) : 0};
}

template <class Value>
void set(cublasLtMatmulDescOpaque_t& operation, cublasLtMatmulDescAttributes_t attribute, Value value) {
  CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(&operation, attribute, &value, sizeof value));
}
template <class Value>
void set(cublasLtMatrixLayoutOpaque_t& layout, cublasLtMatrixLayoutAttribute_t attribute, Value value) {
  CUBLAS_CHECK(cublasLtMatrixLayoutSetAttribute(&layout, attribute, &value, sizeof value));
}
template <class Value>
void set(cublasLtMatmulPreferenceOpaque_t& preference, cublasLtMatmulPreferenceAttributes_t attribute, Value value) {
  CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value));
}

void describe(cublasLtMatrixLayoutOpaque_t& layout, Matrix const& x, std::int64_t batch) {
  CUBLAS_CHECK(cublasLtMatrixLayoutInit(&layout, cuda_type(x.type), static_cast<std::uint64_t>(x.rows),
                                        static_cast<std::uint64_t>(x.cols), x.leading_dimension));
  if (batch == 1) return;
  set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<std::int32_t>(batch));
  set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, x.batch_stride);
}

/// What a launch gives the library besides matrices; a problem's algorithm does not depend on where it lies, but for
/// alignments.
struct Extras {
  void const *bias, *before, *first_scale, *second_scale;  ///< null: none
};
Extras extras_of(Gemm const& op) {
  auto address = [](Tensor const& x) -> void const* { return x.defined() ? x.raw() : nullptr; };
  return {address(bias_of(op)), address(op.before), address(op.b_scale), address(op.a_scale)};
}
void set(cublasLtMatmulDescOpaque_t& operation, Extras const& extras) {
  if (extras.bias) set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, extras.bias);
  if (extras.before) set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, extras.before);
  if (!extras.first_scale) return;
  set(operation, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, extras.first_scale);
  set(operation, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, extras.second_scale);
}

/// fp32 inputs are multiplied in fp32 (no TF32); all sums are in fp32. Of 8 bits, too: fast accumulation, which keeps
/// about 14 bits of a sum, stays off.
void describe(cublasLtMatmulDescOpaque_t& operation, Problem const& problem, Extras const& extras) {
  auto transposition = [](Matrix const& x) { return x.transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
  CUBLAS_CHECK(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  set(operation, CUBLASLT_MATMUL_DESC_TRANSA, transposition(problem.first));
  set(operation, CUBLASLT_MATMUL_DESC_TRANSB, transposition(problem.second));
  set(operation, extras);
  set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, problem.epilogue);
  // AUX_DATA_TYPE stays unset, which is the output's type: others go with outputs of 8 bits alone
  if (extras.before) set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, problem.before_stride);
  if (!extras.bias) return;
  DType const bias = problem.epilogue == CUBLASLT_EPILOGUE_BGRADB ? problem.out.type
                     : size_of(problem.second.type) == 1          ? DType::bf16
                                                                  : problem.second.type;
  set(operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_type(bias));
}

cublasLtMatmulPreferenceOpaque_t preference_of(Problem const& problem) {
  cublasLtMatmulPreferenceOpaque_t preference{};
  CUBLAS_CHECK(cublasLtMatmulPreferenceInit(&preference));
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(problem.workspace));
  // parts of a sum meet in fp32, not in a 16-bit output
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  auto alignment = [](Matrix const& x) { return static_cast<std::uint32_t>(x.alignment); };
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(problem.first));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(problem.second));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(problem.out));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(problem.out));
  return preference;
}

[[noreturn]] void no_algorithm(Problem const& p) {
  throw Error(
      concat("cuBLASLt has no algorithm for ", p.batch, " matrix product(s) of ", p.out.cols, " x ", p.out.rows, " x ",
             p.k(), " of ", name(p.second.type), " and ", name(p.first.type), " into ", name(p.out.type),
             p.bias_alignment ? ", with a bias" : "", p.accumulate ? ", added" : "", " (it does not support this with ",
             p.workspace, " bytes of scratch",
             size_of(p.first.type) == 1 ? ", or sizes are no multiples of 16, or the device is older than sm_89" : "",
             "). Give the output the inputs' dtype, or use run.backend = \"cpu\"."));
}

/// The library's descriptions of a problem and its algorithm, if it has one: made once, used by every launch.
struct Plan {
  Plan(cublasLtHandle_t handle, Problem const& problem, Extras const& extras);
  Plan(Plan const&) = delete;
  Plan& operator=(Plan const&) = delete;

  cublasLtMatmulDescOpaque_t operation{};
  cublasLtMatrixLayoutOpaque_t first{}, second{}, out{};
  cublasLtMatmulAlgo_t algorithm{};
  bool possible = false;
};

Plan::Plan(cublasLtHandle_t handle, Problem const& problem, Extras const& extras) {
  describe(operation, problem, extras);
  describe(first, problem.first, problem.batch);
  describe(second, problem.second, problem.batch);
  describe(out, problem.out, problem.batch);
  cublasLtMatmulPreferenceOpaque_t preference = preference_of(problem);
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle, &operation, &first, &second, &out, &out, &preference, 1, &best, &found);
  if (status == CUBLAS_STATUS_SUCCESS) status = found > 0 ? best.state : CUBLAS_STATUS_NOT_SUPPORTED;
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || problem.declined_by(status)) return;
  cublas_check(status, "cublasLtMatmulAlgoGetHeuristic", __FILE__, __LINE__);
  algorithm = best.algo, possible = true;
}

}  // namespace

/// The library's handle and the plans of all problems so far, of one device.
class CublasLt {
 public:
  CublasLt() { CUBLAS_CHECK(cublasLtCreate(&handle_)); }
  ~CublasLt() { cublasLtDestroy(handle_); }
  CublasLt(CublasLt const&) = delete;
  CublasLt& operator=(CublasLt const&) = delete;

  cublasLtHandle_t handle() const { return handle_; }
  /// The first use of a problem asks the library's heuristic.
  Plan& plan(Problem const& problem, Extras const& extras) {
    return plans_.try_emplace(problem, handle_, problem, extras).first->second;
  }

 private:
  cublasLtHandle_t handle_ = nullptr;
  std::map<Problem, Plan> plans_;
};

namespace {
/// Whether the library could do it. An epilogue may be declined here although the heuristic had an algorithm: nothing
/// is written then, and it is not asked again.
bool multiply(Cuda& cuda, Gemm const& op, GemmBatch const& batch) {
  if (!cuda.cublas_lt) cuda.cublas_lt = std::make_shared<CublasLt>();
  Problem const problem = problem_of(op, batch, cuda.workspace.size());
  Extras const extras = extras_of(op);
  Plan& plan = cuda.cublas_lt->plan(problem, extras);
  if (!plan.possible && has_epilogue(op)) return false;
  if (!plan.possible) no_algorithm(problem);
  set(plan.operation, extras);
  float const alpha = static_cast<float>(op.scale), beta = op.accumulate ? 1.0f : 0.0f;
  cublasStatus_t const status =
      cublasLtMatmul(cuda.cublas_lt->handle(), &plan.operation, &alpha, op.b.raw(), &plan.first, op.a.raw(),
                     &plan.second, &beta, op.out.raw(), &plan.out, op.out.raw(), &plan.out, &plan.algorithm,
                     cuda.workspace.data(), cuda.workspace.size(), cuda.stream);
  if (problem.declined_by(status)) return plan.possible = false;
  cublas_check(status, "cublasLtMatmul", __FILE__, __LINE__);
  cuda.flops += problem.flops();
  return true;
}

/// As cublasLt.h says of AUX_LD. Its tanh has 11 bits: too few where outputs have more.
bool takes_epilogue(Gemm const& op) {
  if (!op.before.defined()) return true;
  return op.before.row_stride() % 8 == 0 && op.out.dtype() != DType::fp32;
}
}  // namespace

void launch(Cuda& cuda, Gemm const& op, GemmBatch const& batch) {
  if (op.m() == 0 || op.n() == 0 || batch.count == 0) return;
  multiply(cuda, op, batch);
}

/// Epilogues by the library where it has them, else by our kernels.
void launch(Cuda& cuda, Gemm const& op) {
  check_epilogue(op);
  if (op.m() == 0 || op.n() == 0) return;
  if (!takes_epilogue(op) || !multiply(cuda, op, {})) apart(op, [&](auto const& part) { launch(cuda, part); });
}

}  // namespace selenite
