#include "tests/shim/cublaslt.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <type_traits>

#include "core/dtype.hpp"
#include "core/error.hpp"
#include "tests/shim/include/cuda_runtime.h"

struct cublasLtContext {};

namespace selenite::shim {

LtRecord& lt_record() {
  thread_local LtRecord record;
  return record;
}

namespace {

// --- what is behind the opaque descriptions; `initialized` tells them from any other bytes

constexpr std::uint64_t initialized = 0x5e1e'417e'cb1a'5017;

struct Layout {
  std::uint64_t mark = initialized;
  LtMatrix matrix;
};
struct Operation {
  std::uint64_t mark = initialized;
  cublasComputeType_t compute;
  cudaDataType_t scale;
  cublasOperation_t op_a = CUBLAS_OP_N, op_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  int bias_type = -1;  ///< of D
  void const *bias = nullptr, *aux = nullptr;
  std::int64_t aux_leading_dimension = 0;
  float const *a_scale = nullptr, *b_scale = nullptr;
  std::int8_t fast_accumulation = 0;
};
struct Preference {
  std::uint64_t mark = initialized;
  std::uint64_t workspace = 0;
  std::uint32_t reduction_schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
  std::uint32_t alignment_a = 256, alignment_b = 256, alignment_c = 256, alignment_d = 256;
};
/// Of use for the problem that it was chosen for: the choice' number, the alignments that its accesses need, and its
/// scratch.
struct Algorithm {
  std::uint64_t mark = initialized;
  std::uint64_t choice, workspace;
  std::uint32_t alignment_a, alignment_b, alignment_c, alignment_d, alignment_bias, alignment_aux;
};

template <class Inside, class Opaque>
Inside read(Opaque const* opaque) {
  static_assert(sizeof(Inside) <= sizeof(Opaque) && std::is_trivially_copyable_v<Inside>);
  Inside inside;
  std::memcpy(static_cast<void*>(&inside), opaque, sizeof inside);
  return inside;
}
template <class Inside, class Opaque>
void write(Opaque* opaque, Inside const& inside) {
  static_assert(sizeof(Inside) <= sizeof(Opaque) && std::is_trivially_copyable_v<Inside>);
  std::memcpy(static_cast<void*>(opaque), &inside, sizeof inside);
}

// --- refusals

thread_local std::string last_reason;

template <class... Parts>
cublasStatus_t refuse(cublasStatus_t status, Parts const&... reason) {
  last_reason = concat(reason...);
  return status;
}
constexpr auto invalid = CUBLAS_STATUS_INVALID_VALUE, unsupported = CUBLAS_STATUS_NOT_SUPPORTED;

template <class Field>
cublasStatus_t assign(Field& field, void const* value, std::size_t bytes) {
  if (!value || bytes != sizeof(Field)) return refuse(invalid, "an attribute of ", bytes, " bytes");
  std::memcpy(&field, value, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

// --- elements

bool is_fp8(cudaDataType_t type) { return type == CUDA_R_8F_E4M3 || type == CUDA_R_8F_E5M2; }
std::int64_t size_of(cudaDataType_t type) {
  return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : is_fp8(type) ? 1 : 2;
}

double load(cudaDataType_t type, void const* data, std::int64_t i) {
  if (type == CUDA_R_32F) return static_cast<float const*>(data)[i];
  if (type == CUDA_R_16F) return static_cast<float>(static_cast<fp16 const*>(data)[i]);
  if (type == CUDA_R_8F_E4M3) return static_cast<float>(static_cast<e4m3 const*>(data)[i]);
  if (type == CUDA_R_8F_E5M2) return static_cast<float>(static_cast<e5m2 const*>(data)[i]);
  return static_cast<float>(static_cast<bf16 const*>(data)[i]);
}
void store(cudaDataType_t type, void* data, std::int64_t i, double value) {
  auto const x = static_cast<float>(value);
  if (type == CUDA_R_32F)
    static_cast<float*>(data)[i] = x;
  else if (type == CUDA_R_16F)
    static_cast<fp16*>(data)[i] = fp16(x);
  else
    static_cast<bf16*>(data)[i] = bf16(x);
}

// --- checks

bool has_aux(LtProblem const& p) { return (p.epilogue & 128) != 0; }
/// Of D's rows, added; or of its columns, written.
bool has_bias(LtProblem const& p) { return (p.epilogue & (CUBLASLT_EPILOGUE_BIAS | CUBLASLT_EPILOGUE_BGRADB)) != 0; }
bool rare(LtProblem const& p) { return has_aux(p) || p.epilogue == CUBLASLT_EPILOGUE_BGRADB; }

/// 8-bit inputs as an sm_90 has them: not both e5m2, sums along the rows of both, sizes of whole 16 bytes.
bool supported_fp8(LtProblem const& p) {
  bool const types = is_fp8(p.b.type) && (p.a.type != CUDA_R_8F_E5M2 || p.b.type != CUDA_R_8F_E5M2),
             order = p.op_a == CUBLAS_OP_T && p.op_b == CUBLAS_OP_N, sizes = p.m() % 16 == 0 && p.k() % 16 == 0;
  for (LtMatrix const& x : {p.a, p.b, p.d})
    if (x.leading_dimension * size_of(x.type) % 16 != 0) return false;
  bool const output = p.d.type == CUDA_R_16BF || (p.d.type == CUDA_R_32F && !has_aux(p));
  return types && order && sizes && output && p.epilogue != CUBLASLT_EPILOGUE_BGRADB &&
         (!has_bias(p) || p.bias_type == CUDA_R_16BF);
}

/// The rows that COMPUTE_32F has in the documentation's table: inputs, output, bias.
bool supported(LtProblem const& p) {
  if (p.compute != CUBLAS_COMPUTE_32F || p.scale != CUDA_R_32F || p.c.type != p.d.type) return false;
  if (rare(p) && p.d.batch != 1) return false;
  if (is_fp8(p.a.type)) return supported_fp8(p);
  if (p.a.type != p.b.type) return false;
  bool const floating = p.a.type == CUDA_R_32F || p.a.type == CUDA_R_16F || p.a.type == CUDA_R_16BF;
  if (!floating || (p.d.type != p.a.type && p.d.type != CUDA_R_32F)) return false;
  return !has_bias(p) || p.bias_type == p.d.type;
}

cublasStatus_t check(LtMatrix const& x, std::uint64_t rows, std::uint64_t cols, std::int32_t batch, char const* which) {
  if (x.rows != rows || x.cols != cols || rows == 0 || cols == 0)
    return refuse(invalid, which, " is ", x.rows, " x ", x.cols, ", not ", rows, " x ", cols);
  if (x.leading_dimension < static_cast<std::int64_t>(x.rows))
    return refuse(invalid, "the columns of ", which, " overlap: ", x.leading_dimension, " apart, of ", x.rows, " rows");
  if (x.batch != batch || batch < 1) return refuse(invalid, which, " has ", x.batch, " matrices, not ", batch);
  return CUBLAS_STATUS_SUCCESS;
}

/// Whether no element belongs to two matrices: they lie side by side in wider rows, or behind each other.
bool disjoint(LtMatrix const& x) {
  auto const rows = static_cast<std::int64_t>(x.rows), cols = static_cast<std::int64_t>(x.cols);
  bool const beside = x.batch_stride >= rows && (x.batch - 1) * x.batch_stride + rows <= x.leading_dimension;
  return x.batch == 1 || beside || x.batch_stride >= (cols - 1) * x.leading_dimension + rows;
}

cublasStatus_t check(LtProblem const& p, void const* bias, void const* aux) {
  std::uint64_t const m = p.m(), n = p.n(), k = p.k();
  bool const ta = p.op_a == CUBLAS_OP_T, tb = p.op_b == CUBLAS_OP_T;
  for (cublasStatus_t const status :
       {check(p.a, ta ? k : m, ta ? m : k, p.d.batch, "A"), check(p.b, tb ? n : k, tb ? k : n, p.d.batch, "B"),
        check(p.c, m, n, p.d.batch, "C"), check(p.d, m, n, p.d.batch, "D")})
    if (status != CUBLAS_STATUS_SUCCESS) return status;
  if (!disjoint(p.d)) return refuse(invalid, "the matrices of D overlap");
  if (has_bias(p) != (bias != nullptr)) return refuse(invalid, "a bias and its epilogue come together");
  if (has_aux(p) != (aux != nullptr)) return refuse(invalid, "what gelu is given and its epilogue come together");
  if (has_aux(p) && (p.aux_leading_dimension % 8 != 0 || p.aux_leading_dimension < static_cast<std::int64_t>(m)))
    return refuse(invalid, "the columns of what gelu is given are ", p.aux_leading_dimension, " apart");
  if (!supported(p)) return refuse(unsupported, "this combination of types");
  if (rare(p) && !lt_record().has_epilogues) return refuse(lt_record().refusal, "an epilogue");
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t problem_of(LtProblem& problem, cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                          cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                          cublasLtMatrixLayout_t d) {
  if (!handle) return refuse(CUBLAS_STATUS_NOT_INITIALIZED, "no handle");
  auto const op = read<Operation>(operation);
  bool whole = op.mark == initialized;
  for (auto const* layout : {a, b, c, d}) whole &= read<Layout>(layout).mark == initialized;
  if (!whole) return refuse(invalid, "a description was not initialized");
  auto matrix = [](cublasLtMatrixLayout_t layout) { return read<Layout>(layout).matrix; };
  problem = {op.compute,           op.scale,  op.op_a,   op.op_b,   op.epilogue, CUDA_R_32F, op.aux_leading_dimension,
             op.fast_accumulation, matrix(a), matrix(b), matrix(c), matrix(d)};
  problem.bias_type = op.bias_type < 0 ? problem.d.type : static_cast<cudaDataType_t>(op.bias_type);
  if ((op.a_scale || op.b_scale) && !is_fp8(problem.a.type)) return refuse(unsupported, "scales of other than 8 bits");
  return check(problem, op.bias, op.aux);
}

/// The widest accesses, of 16 bytes at most, that every column of every matrix can take.
std::uint32_t access_bytes(LtMatrix const& x, std::uint32_t pointer_alignment) {
  std::int64_t const size = size_of(x.type), stride = x.batch == 1 ? 0 : x.batch_stride;
  std::int64_t const bits = 16 | pointer_alignment | (x.leading_dimension * size) | (stride * size);
  return static_cast<std::uint32_t>(bits & -bits);
}
std::uint32_t access_bytes(void const* p) {
  auto const bits = reinterpret_cast<std::uintptr_t>(p) | 16;
  return static_cast<std::uint32_t>(bits & -bits);
}
bool aligned(void const* p, std::uint32_t bytes) { return reinterpret_cast<std::uintptr_t>(p) % bytes == 0; }

/// What the algorithm is for, against what it is used for.
cublasStatus_t check(Algorithm const& algorithm, LtProduct const& product, void const* workspace) {
  auto const& choices = lt_record().choices;
  if (algorithm.mark != initialized || algorithm.choice >= choices.size())
    return refuse(invalid, "the algorithm comes from no heuristic");
  if (!(choices[algorithm.choice].problem == product.problem))
    return refuse(invalid, "the algorithm was chosen for another problem");
  if (product.workspace < algorithm.workspace)
    return refuse(invalid, "the algorithm needs ", algorithm.workspace, " bytes of scratch, not ", product.workspace);
  if (product.workspace > 0 && !aligned(workspace, 256)) return refuse(invalid, "scratch is not aligned to 256 bytes");
  if (!aligned(product.a, algorithm.alignment_a) || !aligned(product.b, algorithm.alignment_b) ||
      !aligned(product.d, std::max(algorithm.alignment_c, algorithm.alignment_d)) ||
      !aligned(product.bias, algorithm.alignment_bias) || !aligned(product.aux, algorithm.alignment_aux))
    return refuse(invalid, "a matrix is less aligned than the algorithm was told");
  if (!aligned(product.a_scale, 16) || !aligned(product.b_scale, 16))  // as an H200 does, unlike its heuristic
    return refuse(unsupported, "a scale is not aligned to 16 bytes");
  return CUBLAS_STATUS_SUCCESS;
}

/// The terms of the sums as doubles: [rows or columns of the product][k].
std::vector<double> terms_of(LtMatrix const& x, void const* data, std::int64_t batch, bool sums_over_rows) {
  std::int64_t const ld = x.leading_dimension, step = sums_over_rows ? 1 : ld, next = sums_over_rows ? ld : 1;
  auto const count = static_cast<std::int64_t>(sums_over_rows ? x.cols : x.rows),
             k = static_cast<std::int64_t>(sums_over_rows ? x.rows : x.cols);
  std::vector<double> terms;
  terms.reserve(static_cast<std::size_t>(count * k));
  for (std::int64_t i = 0; i < count; ++i)
    for (std::int64_t s = 0; s < k; ++s)
      terms.push_back(load(x.type, data, batch * x.batch_stride + i * next + s * step));
  return terms;
}

/// By tanh, as the library has it.
double gelu(double x) { return 0.5 * x * (1 + std::tanh(0.7978845608 * (x + 0.044715 * x * x * x))); }
double gelu_slope(double x) {
  double const t = std::tanh(0.7978845608 * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608 * (1 + 3 * 0.044715 * x * x);
}

void multiply(LtProduct const& product) {
  LtProblem const& p = product.problem;
  double const alpha =
      product.alpha * (product.a_scale ? *product.a_scale : 1.0) * (product.b_scale ? *product.b_scale : 1.0);
  auto const m = static_cast<std::size_t>(p.m()), n = static_cast<std::size_t>(p.n()),
             k = static_cast<std::size_t>(p.k());
  for (std::int64_t batch = 0; batch < p.d.batch; ++batch) {
    auto const a = terms_of(p.a, product.a, batch, p.op_a == CUBLAS_OP_T),
               b = terms_of(p.b, product.b, batch, p.op_b == CUBLAS_OP_N);
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t i = 0; i < m; ++i) {
        auto const row = static_cast<std::int64_t>(i),
                   d = batch * p.d.batch_stride + static_cast<std::int64_t>(j) * p.d.leading_dimension + row;
        double sum = std::inner_product(&a[i * k], &a[i * k] + k, &b[j * k], 0.0) * alpha;
        if (product.beta != 0) sum += product.beta * load(p.d.type, product.d, d);  // with 0, C is not read
        if (p.epilogue & CUBLASLT_EPILOGUE_BIAS) sum += load(p.bias_type, product.bias, row);
        std::int64_t const aux = static_cast<std::int64_t>(j) * p.aux_leading_dimension + row;
        if (p.epilogue == CUBLASLT_EPILOGUE_DGELU) {
          sum *= gelu_slope(load(p.d.type, product.aux, aux));
        } else if (has_aux(p)) {
          store(p.d.type, const_cast<void*>(product.aux), aux, sum);
          sum = gelu(sum);
        }
        store(p.d.type, product.d, d, sum);
      }
      if (p.epilogue == CUBLASLT_EPILOGUE_BGRADB)
        store(p.bias_type, const_cast<void*>(product.bias), static_cast<std::int64_t>(j),
              std::accumulate(&b[j * k], &b[j * k] + k, 0.0));
    }
  }
}

}  // namespace
}  // namespace selenite::shim

using namespace selenite::shim;

char const* cublasLtGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
      return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
      return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "";
}
char const* cublasLtGetStatusString(cublasStatus_t) { return last_reason.c_str(); }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (fail_capture()) return refuse(CUBLAS_STATUS_NOT_INITIALIZED, "a handle takes memory, and the thread captures");
  *handle = new cublasLtContext;
  ++lt_record().handles;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  ++lt_record().destroyed;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t layout, cudaDataType_t type, std::uint64_t rows,
                                        std::uint64_t cols, std::int64_t leading_dimension) {
  write(layout, Layout{.matrix = {type, 1, rows, cols, leading_dimension, 0}});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t what,
                                                void const* value, std::size_t bytes) {
  auto inside = read<Layout>(layout);
  cublasStatus_t const status = what == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT
                                    ? assign(inside.matrix.batch, value, bytes)
                                    : assign(inside.matrix.batch_stride, value, bytes);
  write(layout, inside);
  return status;
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t operation, cublasComputeType_t compute,
                                      cudaDataType_t scale) {
  write(operation, Operation{.compute = compute, .scale = scale});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t what,
                                              void const* value, std::size_t bytes) {
  auto inside = read<Operation>(operation);
  auto status = refuse(invalid, "an unknown attribute");
  if (what == CUBLASLT_MATMUL_DESC_TRANSA) status = assign(inside.op_a, value, bytes);
  if (what == CUBLASLT_MATMUL_DESC_TRANSB) status = assign(inside.op_b, value, bytes);
  if (what == CUBLASLT_MATMUL_DESC_EPILOGUE) status = assign(inside.epilogue, value, bytes);
  if (what == CUBLASLT_MATMUL_DESC_BIAS_POINTER) status = assign(inside.bias, value, bytes);
  if (what == CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER) status = assign(inside.aux, value, bytes);
  if (what == CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD) status = assign(inside.aux_leading_dimension, value, bytes);
  if (what == CUBLASLT_MATMUL_DESC_A_SCALE_POINTER) status = assign(inside.a_scale, value, bytes);
  if (what == CUBLASLT_MATMUL_DESC_B_SCALE_POINTER) status = assign(inside.b_scale, value, bytes);
  if (what == CUBLASLT_MATMUL_DESC_FAST_ACCUM) status = assign(inside.fast_accumulation, value, bytes);
  if (what == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE) status = assign(inside.bias_type, value, bytes);
  write(operation, inside);
  return status;
}

cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t preference) {
  write(preference, Preference{});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t what, void const* value,
                                                    std::size_t bytes) {
  auto inside = read<Preference>(preference);
  auto status = refuse(invalid, "an unknown attribute");
  if (what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) status = assign(inside.workspace, value, bytes);
  if (what == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) status = assign(inside.reduction_schemes, value, bytes);
  if (what == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) status = assign(inside.alignment_a, value, bytes);
  if (what == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES) status = assign(inside.alignment_b, value, bytes);
  if (what == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES) status = assign(inside.alignment_c, value, bytes);
  if (what == CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES) status = assign(inside.alignment_d, value, bytes);
  write(preference, inside);
  return status;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int asked,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  *found = 0;
  LtProblem problem{};
  auto const wishes = read<Preference>(preference);
  if (asked < 1 || wishes.mark != initialized) return refuse(invalid, "nothing is asked");
  if (auto const status = problem_of(problem, handle, operation, a, b, c, d); status != CUBLAS_STATUS_SUCCESS)
    return status;
  constexpr std::uint64_t liked = 1 << 16;  // like a product whose sums are split where there is room
  Algorithm const algorithm{.choice = lt_record().choices.size(),
                            .workspace = wishes.workspace < liked ? 0 : liked,
                            .alignment_a = access_bytes(problem.a, wishes.alignment_a),
                            .alignment_b = access_bytes(problem.b, wishes.alignment_b),
                            .alignment_c = access_bytes(problem.c, wishes.alignment_c),
                            .alignment_d = access_bytes(problem.d, wishes.alignment_d),
                            .alignment_bias = access_bytes(read<Operation>(operation).bias),
                            .alignment_aux = access_bytes(read<Operation>(operation).aux)};
  lt_record().choices.push_back({problem, wishes.workspace, wishes.reduction_schemes});
  results[0] = {};
  write(&results[0].algo, algorithm);
  results[0].workspaceSize = algorithm.workspace;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, void const* alpha, void const* a,
                              cublasLtMatrixLayout_t a_layout, void const* b, cublasLtMatrixLayout_t b_layout,
                              void const* beta, void const* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, cublasLtMatmulAlgo_t const* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  LtProduct product{.alpha = *static_cast<float const*>(alpha),
                    .beta = *static_cast<float const*>(beta),
                    .a = a,
                    .b = b,
                    .bias = read<Operation>(operation).bias,
                    .aux = read<Operation>(operation).aux,
                    .a_scale = read<Operation>(operation).a_scale,
                    .b_scale = read<Operation>(operation).b_scale,
                    .d = d,
                    .workspace = workspace_bytes,
                    .stream = stream};
  if (auto const status = problem_of(product.problem, handle, operation, a_layout, b_layout, c_layout, d_layout);
      status != CUBLAS_STATUS_SUCCESS)
    return status;
  if (c != d || !(product.problem.c == product.problem.d)) return refuse(unsupported, "C is not D");
  auto const chosen = read<Algorithm>(algorithm);
  if (auto const status = check(chosen, product, workspace); status != CUBLAS_STATUS_SUCCESS) return status;
  if (rare(product.problem) && !lt_record().multiplies_epilogues) {
    ++lt_record().refused;
    return refuse(lt_record().refusal, "an epilogue, which the heuristic had an algorithm for");
  }
  if (capture_of(stream) == Capture::going_on && lt_record().capturable-- <= 0) fail_capture();
  // all that a graph needs is copied from the descriptions here: they may change before it is launched
  cudaError_t const given = give(stream, [=, scratch = chosen.workspace](void const*) {
    if (skips_work()) return;
    if (scratch) std::memset(workspace, 0xff, scratch);  // it is the library's while it runs
    multiply(product);
    lt_record().products.push_back(product);
  });
  return given == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                              : refuse(CUBLAS_STATUS_EXECUTION_FAILED, cudaGetErrorString(given));
}
