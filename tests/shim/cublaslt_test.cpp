#define BOOST_TEST_MODULE cublaslt
#include <boost/test/unit_test.hpp>
#include <string>

#include "kernels/gemm/gemm_batch.hpp"
#include "kernels/matrix_attention/matrix_attention.hpp"
#include "tests/shim/cublaslt_support.hpp"

using namespace selenite;
using namespace selenite::test;
using shim::lt_record;

namespace {

constexpr std::int64_t tokens = 6, in = 16, out = 24;
constexpr DType type = DType::bf16;

void check_matrix(shim::LtMatrix const& x, cudaDataType_t dtype, std::uint64_t rows, std::uint64_t cols,
                  std::int64_t leading_dimension) {
  BOOST_CHECK(x == (shim::LtMatrix{dtype, 1, rows, cols, leading_dimension, 0}));
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(cublaslt, CublasLtFixture)

// y = x W^T + bias, dx = dy W, dW += dy^T x, where x and y are columns of wider matrices.
BOOST_AUTO_TEST_CASE(products_of_a_linear_layer) {
  Tensor const wide_x = memory(type, {tokens, 40}), wide_y = memory(type, {tokens, 48});
  Tensor const x = wide_x.columns(8, in), y = wide_y.columns(24, out), w = memory(type, {out, in}),
               bias = memory(type, {out}), dw = memory(DType::fp32, {out, in});
  Cuda cuda;
  cuda.stream = reinterpret_cast<CUstream_st*>(0x40);
  cuda.workspace = memory.workspace(1 << 16);

  launch(cuda, Gemm{.a = x, .b = w, .out = y, .transpose_b = true, .bias = bias});
  auto const& forward = last();
  BOOST_CHECK_EQUAL(forward.problem.m(), out);
  BOOST_CHECK_EQUAL(forward.problem.n(), tokens);
  BOOST_CHECK_EQUAL(forward.problem.k(), in);
  BOOST_CHECK(forward.problem.op_a == CUBLAS_OP_T && forward.problem.op_b == CUBLAS_OP_N);
  check_matrix(forward.problem.a, CUDA_R_16BF, in, out, in);
  check_matrix(forward.problem.b, CUDA_R_16BF, in, tokens, 40);
  check_matrix(forward.problem.d, CUDA_R_16BF, out, tokens, 48);
  BOOST_CHECK(forward.problem.epilogue == CUBLASLT_EPILOGUE_BIAS && forward.problem.bias_type == CUDA_R_16BF);
  BOOST_CHECK(forward.a == w.raw() && forward.b == x.raw() && forward.d == y.raw() && forward.bias == bias.raw());
  BOOST_CHECK(forward.alpha == 1 && forward.beta == 0 && forward.stream == cuda.stream);
  BOOST_CHECK(forward.problem.compute == CUBLAS_COMPUTE_32F && forward.problem.scale == CUDA_R_32F);

  launch(cuda, Gemm{.a = y, .b = w, .out = x});
  auto const& dgrad = last();
  BOOST_CHECK(dgrad.problem.op_a == CUBLAS_OP_N && dgrad.problem.op_b == CUBLAS_OP_N && dgrad.beta == 0);
  check_matrix(dgrad.problem.a, CUDA_R_16BF, in, out, in);
  check_matrix(dgrad.problem.b, CUDA_R_16BF, out, tokens, 48);
  check_matrix(dgrad.problem.d, CUDA_R_16BF, in, tokens, 40);
  BOOST_CHECK(dgrad.problem.epilogue == CUBLASLT_EPILOGUE_DEFAULT && !dgrad.bias);

  launch(cuda, Gemm{.a = y, .b = x, .out = dw, .transpose_a = true, .accumulate = true});
  auto const& wgrad = last();
  BOOST_CHECK(wgrad.problem.op_a == CUBLAS_OP_N && wgrad.problem.op_b == CUBLAS_OP_T && wgrad.beta == 1);
  check_matrix(wgrad.problem.a, CUDA_R_16BF, in, tokens, 40);
  check_matrix(wgrad.problem.b, CUDA_R_16BF, out, tokens, 48);
  check_matrix(wgrad.problem.d, CUDA_R_32F, in, out, in);
  BOOST_CHECK_EQUAL(wgrad.problem.k(), tokens);

  BOOST_CHECK_EQUAL(cuda.flops, 3 * 2.0 * tokens * in * out);
  BOOST_CHECK_EQUAL(lt_record().products.size(), 3u);
}

// The same in 8 bits: all three with sums along the rows of both operands, scales on the device, full accumulation.
BOOST_AUTO_TEST_CASE(products_of_a_linear_layer_in_8_bits) {
  constexpr std::int64_t rows = 32, inputs = 16, outputs = 48;
  Tensor const x = memory(DType::e4m3, {rows, inputs}), xt = memory(DType::e4m3, {inputs, rows}),
               w = memory(DType::e4m3, {outputs, inputs}), wt = memory(DType::e4m3, {inputs, outputs}),
               dy = memory(DType::e5m2, {rows, outputs}), dyt = memory(DType::e5m2, {outputs, rows}),
               y = memory(DType::bf16, {rows, outputs}), dx = memory(DType::bf16, {rows, inputs}),
               bias = memory(DType::bf16, {outputs}), dw = memory(DType::fp32, {outputs, inputs}),
               scales = memory(DType::fp32, {3, 4});
  auto scale = [&](std::int64_t i) { return scales.row_range(i, 1).columns(0, 1); };
  Cuda cuda;
  cuda.workspace = memory.workspace(1 << 16);
  auto check = [&](Gemm const& op, std::uint64_t m, std::uint64_t n, std::uint64_t k) {
    launch(cuda, op);
    auto const& p = last().problem;
    BOOST_TEST((p.m() == m && p.n() == n && p.k() == k));
    BOOST_CHECK(p.op_a == CUBLAS_OP_T && p.op_b == CUBLAS_OP_N);
    BOOST_CHECK(last().a_scale == op.b_scale.data<float>() && last().b_scale == op.a_scale.data<float>());
    BOOST_TEST(int{p.fast_accumulation} == 0);
    BOOST_CHECK(p.compute == CUBLAS_COMPUTE_32F && p.scale == CUDA_R_32F);
  };
  Gemm const forward{
      .a = x, .b = w, .out = y, .transpose_b = true, .bias = bias, .a_scale = scale(0), .b_scale = scale(1)};
  check(forward, outputs, rows, inputs);
  BOOST_CHECK(last().problem.a.type == CUDA_R_8F_E4M3 && last().problem.b.type == CUDA_R_8F_E4M3);
  BOOST_CHECK(last().bias == bias.raw() && last().problem.bias_type == CUDA_R_16BF);
  check({.a = dy, .b = wt, .out = dx, .transpose_b = true, .a_scale = scale(2), .b_scale = scale(1)}, inputs, rows,
        outputs);
  BOOST_CHECK(last().problem.a.type == CUDA_R_8F_E4M3 && last().problem.b.type == CUDA_R_8F_E5M2);
  check(
      {.a = dyt, .b = xt, .out = dw, .transpose_b = true, .accumulate = true, .a_scale = scale(2), .b_scale = scale(0)},
      inputs, outputs, rows);
  BOOST_CHECK(last().beta == 1 && last().problem.d.type == CUDA_R_32F);

  // the same problem with other scales needs no other algorithm
  std::size_t const before = choices();
  Gemm other = forward;
  other.a_scale = scale(2);
  check(other, outputs, rows, inputs);
  BOOST_TEST(choices() == before);

  // what sm_90 has no algorithm for is said, and what it refuses later
  Gemm shifted = forward;
  shifted.a_scale = scales.row_range(0, 1).columns(1, 1);
  BOOST_TEST(message_of([&] { launch(cuda, shifted); }).find("NOT_SUPPORTED") != std::string::npos);
  Gemm turned = forward;
  turned.b = wt, turned.transpose_b = false;
  BOOST_TEST(message_of([&] { launch(cuda, turned); }).find("no algorithm") != std::string::npos);
  Gemm const ragged{.a = x.row_range(0, 8).columns(0, 8),
                    .b = w.columns(0, 8),
                    .out = y.row_range(0, 8),
                    .transpose_b = true,
                    .a_scale = scale(0),
                    .b_scale = scale(1)};
  BOOST_TEST(message_of([&] { launch(cuda, ragged); }).find("multiples of 16") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(an_algorithm_is_chosen_once_a_problem) {
  Tensor const x = memory(type, {tokens, in}), w = memory(type, {out, in}), y = memory(type, {tokens, out}),
               bias = memory(type, {out});
  Gemm const op{.a = x, .b = w, .out = y, .transpose_b = true};
  {
    Cuda cuda;
    cuda.workspace = memory.workspace(4096);
    auto asks = [&](Gemm const& product) {
      std::size_t const before = choices();
      launch(cuda, product);
      return choices() - before;
    };
    BOOST_CHECK_EQUAL(asks(op), 1u);
    BOOST_CHECK_EQUAL(asks(op), 0u);
    BOOST_CHECK_EQUAL(lt_record().choices[0].workspace, 4096u);
    BOOST_CHECK_EQUAL(lt_record().choices[0].reduction_schemes, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);

    Gemm other = op;  // other places and factors are no other problem
    other.a = memory(type, {tokens, in}), other.scale = 0.5;
    BOOST_CHECK_EQUAL(asks(other), 0u);
    other.a = memory(type, {tokens, in}, 16);
    BOOST_CHECK_EQUAL(asks(other), 1u);  // another alignment is
    other = op, other.a = x.row_range(0, tokens - 1), other.out = y.row_range(0, tokens - 1);
    BOOST_CHECK_EQUAL(asks(other), 1u);
    other = op, other.accumulate = true;
    BOOST_CHECK_EQUAL(asks(other), 1u);
    other = op, other.out = memory(DType::fp32, {tokens, out});
    BOOST_CHECK_EQUAL(asks(other), 1u);
    other = op, other.bias = bias;
    BOOST_CHECK_EQUAL(asks(other), 1u);
    other.bias = memory(type, {out});
    BOOST_CHECK_EQUAL(asks(other), 0u);
    BOOST_CHECK_EQUAL(last().bias, other.bias.raw());
    other.bias = memory(type, {out}, 2);
    BOOST_CHECK_EQUAL(asks(other), 1u);
    cuda.workspace = memory.workspace(8192);
    BOOST_CHECK_EQUAL(asks(op), 1u);
    BOOST_CHECK_EQUAL(asks(Gemm{.a = x, .b = memory(type, {in, in}), .out = memory(type, {tokens, in})}), 1u);
    BOOST_CHECK_EQUAL(lt_record().handles, 1);
    BOOST_CHECK_EQUAL(lt_record().destroyed, 0);
  }
  BOOST_CHECK_EQUAL(lt_record().destroyed, 1);
  Cuda second;  // the choices went with the handle
  launch(second, op);
  BOOST_CHECK_EQUAL(lt_record().handles, 2);
}

// 6 query heads on 2 kv heads: three batches of two heads a sample; sums over a group begin anew and are then added to.
BOOST_AUTO_TEST_CASE(batches_of_attention) {
  AttentionShape const s{
      .samples = 2, .queries = 4, .keys = 5, .heads = 6, .kv_heads = 2, .head_dim = 8, .scale = 0.25};
  Tensor const q = memory(type, {8, 48}), kv = memory(type, {10, 32}), k = kv.columns(0, 16), v = kv.columns(16, 16),
               p = memory(type, {12, 4, 5}), dq = memory(type, {8, 48}), dkv = memory(type, {10, 32});
  Cuda cuda;
  cuda.workspace = memory.workspace(1 << 14);
  launch(cuda, AttentionScores{s, q, k, p});
  BOOST_CHECK_EQUAL(lt_record().products.size(), 6u);
  auto const& first = lt_record().products[0];
  BOOST_CHECK(first.problem.a == (shim::LtMatrix{CUDA_R_16BF, 2, 8, 5, 32, 8}));         // keys
  BOOST_CHECK(first.problem.b == (shim::LtMatrix{CUDA_R_16BF, 2, 8, 4, 48, 24}));        // queries
  BOOST_CHECK(first.problem.d == (shim::LtMatrix{CUDA_R_16BF, 2, 5, 4, 5, 3 * 4 * 5}));  // scores
  BOOST_CHECK(first.problem.op_a == CUBLAS_OP_T && first.problem.op_b == CUBLAS_OP_N);
  BOOST_CHECK(first.alpha == 0.25f && first.beta == 0);
  auto const& second = lt_record().products[1];
  BOOST_CHECK(second.a == first.a && second.b == q.columns(8, 8).raw() && second.d == p.row_range(4, 4).raw());
  BOOST_CHECK_EQUAL(cuda.flops, cost(AttentionScores{s, q, k, p}).flops);

  lt_record().products.clear();
  MatrixAttentionBackward const backward{.shape = s,
                                         .q = q,
                                         .k = k,
                                         .v = v,
                                         .probabilities = p,
                                         .dout = memory(type, {8, 48}),
                                         .dscores = memory(type, {12, 4, 5}),
                                         .dq = dq,
                                         .dk = dkv.columns(0, 16),
                                         .dv = dkv.columns(16, 16)};
  launch(cuda, backward);
  BOOST_CHECK_EQUAL(lt_record().products.size(), 4 * 6u);
  for (std::size_t i = 6; i < 12; ++i) {  // dv, summed in fp32 scratch
    auto const& product = lt_record().products[i];
    BOOST_CHECK(product.problem.d == (shim::LtMatrix{CUDA_R_32F, 2, 8, 5, 16, 8}));
    BOOST_CHECK(product.d == cuda.workspace.data() && product.beta == (i % 3 == 0 ? 0.0f : 1.0f));
    BOOST_CHECK(product.workspace < cuda.workspace.size());
  }
  BOOST_CHECK_EQUAL(cuda.workspace.size(), std::size_t{1} << 14);
  BOOST_CHECK_EQUAL(lt_record().handles, 1);
}

BOOST_AUTO_TEST_CASE(errors_name_the_problem) {
  Tensor const x = memory(type, {tokens, in}), w = memory(type, {out, in});
  Cuda cuda;
  std::string const unsupported = message_of([&] {
    launch(cuda, Gemm{.a = x,
                      .b = w,
                      .out = memory(DType::fp32, {tokens, out}),
                      .transpose_b = true,
                      .bias = memory(type, {out})});
  });
  BOOST_CHECK_EQUAL(unsupported,
                    "cuBLASLt has no algorithm for 1 matrix product(s) of 6 x 24 x 16 of bf16 and bf16 into fp32, with "
                    "a bias (it does not support this with 0 bytes of scratch). Give the output the inputs' dtype, "
                    "or use run.backend = \"cpu\".");
  std::string const refused = message_of([&] {
    launch(cuda, Gemm{.a = x, .b = w, .out = memory(type, {tokens, out}), .transpose_b = true},
           GemmBatch{.count = 2, .out = 1});
  });
  for (char const* const part : {"cublasLtMatmulAlgoGetHeuristic at ", "gemm_cuda.cpp:", "CUBLAS_STATUS_INVALID_VALUE",
                                 "the matrices of D overlap"})
    BOOST_CHECK_MESSAGE(refused.find(part) != refused.npos, part << " is not in: " << refused);
  BOOST_CHECK(message_of([&] {
                launch(cuda, Gemm{.a = memory(DType::fp64, {2, 2}),
                                  .b = memory(DType::fp64, {2, 2}),
                                  .out = memory(DType::fp64, {2, 2})});
              }).find("fp64") != std::string::npos);
  Cuda empty;
  launch(empty, Gemm{.a = memory(type, {0, in}), .b = w, .out = memory(type, {0, out}), .transpose_b = true});
  BOOST_CHECK_EQUAL(empty.flops, 0);
}

// The stand-in refuses what the library refuses.
BOOST_AUTO_TEST_CASE(stand_in) {
  Tensor const x = memory(DType::fp32, {4, 4}), y = memory(DType::fp32, {4, 4}), z = memory(DType::fp32, {4, 4});
  cublasLtHandle_t handle = nullptr;
  cublasLtCreate(&handle);
  cublasLtMatrixLayoutOpaque_t square{}, narrow{}, tall{};
  cublasLtMatmulDescOpaque_t operation{};
  cublasLtMatmulPreferenceOpaque_t preference{};
  cublasLtMatrixLayoutInit(&square, CUDA_R_32F, 4, 4, 4);
  cublasLtMatrixLayoutInit(&narrow, CUDA_R_32F, 4, 4, 3);
  cublasLtMatrixLayoutInit(&tall, CUDA_R_32F, 4, 3, 4);
  cublasLtMatmulPreferenceInit(&preference);
  std::uint64_t const most = 1 << 16;
  cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most);
  cublasLtMatmulHeuristicResult_t result{};
  auto choose = [&](cublasLtMatrixLayout_t a) {
    int found = 0;
    return cublasLtMatmulAlgoGetHeuristic(handle, &operation, a, &square, &square, &square, &preference, 1, &result,
                                          &found);
  };
  float const one = 1;
  std::span<std::byte> const scratch = memory.workspace(1 << 17);
  auto multiply = [&](cublasLtMatrixLayout_t layout, std::byte const* a, std::byte* workspace, std::size_t bytes) {
    return cublasLtMatmul(handle, &operation, &one, a, layout, y.raw(), layout, &one, z.raw(), layout, z.raw(), layout,
                          &result.algo, workspace, bytes, nullptr);
  };
  BOOST_CHECK(choose(&square) == CUBLAS_STATUS_INVALID_VALUE);  // the operation is not initialized
  cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  BOOST_CHECK(choose(&narrow) == CUBLAS_STATUS_INVALID_VALUE);
  BOOST_CHECK(choose(&tall) == CUBLAS_STATUS_INVALID_VALUE);
  BOOST_CHECK(multiply(&square, x.raw(), scratch.data(), most) == CUBLAS_STATUS_INVALID_VALUE);  // no algorithm
  BOOST_CHECK(choose(&square) == CUBLAS_STATUS_SUCCESS);
  BOOST_CHECK_EQUAL(result.workspaceSize, most);
  BOOST_CHECK(multiply(&square, x.raw(), scratch.data(), most) == CUBLAS_STATUS_SUCCESS);
  BOOST_CHECK(multiply(&square, x.raw(), scratch.data(), most - 1) == CUBLAS_STATUS_INVALID_VALUE);
  BOOST_CHECK(multiply(&square, x.raw(), scratch.data() + 128, most) == CUBLAS_STATUS_INVALID_VALUE);
  BOOST_CHECK(multiply(&square, x.raw() + 4, scratch.data(), most) == CUBLAS_STATUS_INVALID_VALUE);
  cublasLtMatrixLayoutInit(&square, CUDA_R_32F, 4, 4, 8);
  BOOST_CHECK(multiply(&square, x.raw(), scratch.data(), most) == CUBLAS_STATUS_INVALID_VALUE);  // another problem
  cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_16F, CUDA_R_16F);
  BOOST_CHECK(choose(&square) == CUBLAS_STATUS_NOT_SUPPORTED);
  cublasLtDestroy(handle);
}

BOOST_AUTO_TEST_SUITE_END()
