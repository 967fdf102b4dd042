// Products that make more on the way: where cuBLASLt has that, and where it does not.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "core/element.hpp"
#include "tests/shim/cublaslt_support.hpp"

using namespace selenite;
using namespace selenite::test;
using shim::lt_record;

namespace {

constexpr DType type = DType::bf16;

/// The same numbers between -1 and 1 at each call with this seed.
Tensor drawn(Tensor const& x, std::uint32_t seed) {
  for (std::int64_t i = 0; i < x.rows(); ++i)
    for (std::int64_t j = 0; j < x.cols(); ++j)
      store(x, i, j, 2e-4 * static_cast<double>((seed = seed * 48271 % 2147483647) % 10000) - 1);
  return x;
}

/// An MLP's products with what else they make, of drawn numbers in bf16 or 8 bits (without the gradient's there).
struct Products {
  Products(Memory& memory, bool fp8) {
    constexpr std::int64_t rows = 32, inputs = 16, outputs = 48;
    DType const e4m3 = fp8 ? DType::e4m3 : type, e5m2 = fp8 ? DType::e5m2 : type;
    std::uint32_t seed = 1;
    auto in = [&](DType dtype, Shape shape) { return drawn(memory(dtype, shape), ++seed); };
    auto out = [&](DType dtype, Shape shape) { return results_.emplace_back(in(dtype, shape)); };
    forward = {.a = in(e4m3, {rows, inputs}),
               .b = in(e4m3, {outputs, inputs}),
               .out = out(type, {rows, outputs}),
               .transpose_b = true,
               .bias = in(type, {outputs}),
               .epilogue = Epilogue::gelu,
               .before = out(type, {rows, outputs})};
    backward = {.a = in(e5m2, {rows, inputs}),
                .b = fp8 ? in(e4m3, {outputs, inputs}) : in(type, {inputs, outputs}),
                .out = out(type, {rows, outputs}),
                .transpose_b = fp8,
                .epilogue = Epilogue::gelu_backward,
                .before = in(type, {rows, outputs})};
    gradient = {.a = in(type, {rows, outputs}),
                .b = in(type, {rows, inputs}),
                .out = out(DType::fp32, {outputs, inputs}),
                .transpose_a = true,
                .accumulate = true,
                .bias_gradient = out(DType::fp32, {1, outputs})};
    if (fp8)
      for (Gemm* op : {&forward, &backward}) op->a_scale = scale(memory, 0.5), op->b_scale = scale(memory, 4);
    all = {forward, backward};
    if (!fp8) all.push_back(gradient);
  }
  static Tensor scale(Memory& memory, double value) {
    Tensor const x = memory(DType::fp32, {1});
    store(x, 0, 0, value);
    return x;
  }
  static double flops() { return 2.0 * 32 * 16 * 48; }
  std::vector<double> results() const {
    std::vector<double> values;
    for (Tensor const& x : results_)
      for (std::int64_t i = 0; i < x.count(); ++i) values.push_back(load(x, i));
    return values;
  }

  Gemm forward, backward, gradient;
  std::vector<Gemm> all;

 private:
  std::vector<Tensor> results_;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(cublaslt_epilogues, CublasLtFixture)

// y = gelu(before), before = x W^T + b; d_before = gelu'(before) dy W; dW += dy^T x beside the sums of dy.
BOOST_AUTO_TEST_CASE(epilogues_in_16_bits) {
  constexpr std::int64_t tokens = 6, in = 16, out = 24;
  Tensor const x = memory(type, {tokens, in}), w = memory(type, {out, in}), y = memory(type, {tokens, out}),
               before = memory(type, {tokens, 2 * out}).columns(8, out), bias = memory(type, {out}),
               w2 = memory(type, {in, out}), dw = memory(DType::fp32, {out, in}), dbias = memory(DType::fp32, {1, out});
  Gemm const forward{
      .a = x, .b = w, .out = y, .transpose_b = true, .bias = bias, .epilogue = Epilogue::gelu, .before = before};
  Gemm const backward{.a = x, .b = w2, .out = y, .epilogue = Epilogue::gelu_backward, .before = before};
  Gemm const gradient{.a = y, .b = x, .out = dw, .transpose_a = true, .accumulate = true, .bias_gradient = dbias};
  {
    Cuda cuda;
    cuda.workspace = memory.workspace(1 << 16);
    launch(cuda, forward);
    BOOST_CHECK(last().problem.epilogue == CUBLASLT_EPILOGUE_GELU_AUX_BIAS && last().bias == bias.raw());
    BOOST_CHECK(last().aux == before.raw() && last().problem.aux_leading_dimension == 2 * out);
    BOOST_CHECK(last().d == y.raw() && last().problem.bias_type == CUDA_R_16BF);
    Gemm other = forward;
    other.bias = {};
    launch(cuda, other);
    BOOST_CHECK(last().problem.epilogue == CUBLASLT_EPILOGUE_GELU_AUX && !last().bias);
    launch(cuda, backward);
    BOOST_CHECK(last().problem.epilogue == CUBLASLT_EPILOGUE_DGELU && last().aux == before.raw());
    launch(cuda, gradient);
    BOOST_CHECK(last().problem.epilogue == CUBLASLT_EPILOGUE_BGRADB && last().bias == dbias.raw());
    BOOST_CHECK(last().problem.bias_type == CUDA_R_32F && last().problem.n() == out && last().beta == 1);
    BOOST_CHECK_EQUAL(lt_record().products.size(), 4u);
    BOOST_CHECK_EQUAL(cuda.flops, 4 * 2.0 * tokens * in * out);

    // another alignment of what gelu is given is another problem; rows that no library takes are ours
    std::size_t asked = choices();
    other = forward, other.before = memory(type, {tokens, 2 * out}, 16).columns(8, out);
    launch(cuda, other);
    BOOST_CHECK_EQUAL(choices(), ++asked);
    other.before = memory(type, {tokens, out + 4}).columns(0, out);
    launch(cuda, other);
    BOOST_CHECK(last().problem.epilogue == CUBLASLT_EPILOGUE_BIAS && last().d == other.before.raw());
  }
  // where the library has no such algorithm, our kernels do what it would have done; it is asked once
  lt_record() = {.has_epilogues = false};
  Cuda cuda;
  cuda.workspace = memory.workspace(1 << 16);
  for (int twice = 0; twice < 2; ++twice) {
    launch(cuda, forward);
    BOOST_CHECK(last().problem.epilogue == CUBLASLT_EPILOGUE_BIAS && last().d == before.raw());
    launch(cuda, backward);
    BOOST_CHECK(last().problem.epilogue == CUBLASLT_EPILOGUE_DEFAULT && last().d == y.raw());
    launch(cuda, gradient);
    BOOST_CHECK(last().problem.epilogue == CUBLASLT_EPILOGUE_DEFAULT && last().beta == 1);
  }
  BOOST_CHECK_EQUAL(choices(), 3u);
  BOOST_CHECK_EQUAL(cuda.flops, 6 * 2.0 * tokens * in * out);
}

// In 8 bits: with 16-bit biases, inputs of gelu and outputs; biases' gradients are none of theirs.
BOOST_AUTO_TEST_CASE(epilogues_in_8_bits) {
  Products const p(memory, true);
  Cuda cuda;
  cuda.workspace = memory.workspace(1 << 16);
  auto check = [&](Gemm const& op, cublasLtEpilogue_t epilogue, cudaDataType_t gradient_or_input) {
    launch(cuda, op);
    auto const& lt = last().problem;
    BOOST_TEST((lt.epilogue == epilogue && lt.a.type == CUDA_R_8F_E4M3 && lt.b.type == gradient_or_input));
    BOOST_TEST((lt.op_a == CUBLAS_OP_T && lt.op_b == CUBLAS_OP_N && lt.d.type == CUDA_R_16BF));
    BOOST_TEST((last().d == op.out.raw() && last().aux == op.before.raw() && last().bias == op.bias.raw()));
    BOOST_TEST(lt.aux_leading_dimension == op.before.row_stride());
    BOOST_TEST((last().a_scale == op.b_scale.data<float>() && last().b_scale == op.a_scale.data<float>()));
  };
  check(p.forward, CUBLASLT_EPILOGUE_GELU_AUX_BIAS, CUDA_R_8F_E4M3);
  BOOST_TEST((last().problem.bias_type == CUDA_R_16BF));
  Gemm op = p.forward;
  op.bias = {};
  check(op, CUBLASLT_EPILOGUE_GELU_AUX, CUDA_R_8F_E4M3);
  check(p.backward, CUBLASLT_EPILOGUE_DGELU, CUDA_R_8F_E5M2);
  BOOST_TEST(cuda.flops == 3 * p.flops());
  op = p.forward, op.out = memory(DType::fp32, op.out.shape()), op.before = memory(DType::fp32, op.out.shape());
  launch(cuda, op);  // more than the library's tanh has
  BOOST_TEST((last().problem.epilogue == CUBLASLT_EPILOGUE_BIAS && last().d == op.before.raw()));
}

/// Refusals by the heuristic and, although that had an algorithm, by the product: our kernels do the same to the bit,
/// and neither is asked again.
BOOST_AUTO_TEST_CASE(epilogues_that_are_refused) {
  for (bool const fp8 : {false, true}) {
    auto results = [&](shim::LtRecord const& record) {
      lt_record() = record;
      Products const p(memory, fp8);
      Cuda cuda;
      cuda.workspace = memory.workspace(1 << 16);
      for (int twice = 0; twice < 2; ++twice)
        for (Gemm const& op : p.all) launch(cuda, op);
      BOOST_TEST(cuda.flops == 2 * static_cast<double>(p.all.size()) * p.flops());
      return p.results();
    };
    auto const kinds = static_cast<int>(fp8 ? 2 : 3);
    auto const fused = results({});
    BOOST_TEST((choices() == static_cast<std::size_t>(kinds) && lt_record().refused == 0));
    auto const ours = results({.has_epilogues = false});
    BOOST_TEST((choices() == static_cast<std::size_t>(kinds) && lt_record().refused == 0));
    std::vector<shim::LtRecord> late{{.multiplies_epilogues = false}};
    if (fp8) late.push_back({.multiplies_epilogues = false, .refusal = CUBLAS_STATUS_INVALID_VALUE});
    if (fp8) late.push_back({.has_epilogues = false, .refusal = CUBLAS_STATUS_INVALID_VALUE});
    for (shim::LtRecord const& record : late) {
      BOOST_TEST(results(record) == ours, boost::test_tools::per_element());
      BOOST_TEST(lt_record().refused == (record.has_epilogues ? kinds : 0));
    }
    // gelu of the rounded product is another: by a rounding at its slope of at most 1.2, and the result's own
    double largest = 0, difference = 0;
    for (std::size_t i = 0; i < fused.size(); ++i)
      largest = std::max(largest, std::abs(fused[i])), difference = std::max(difference, std::abs(fused[i] - ours[i]));
    BOOST_TEST((difference > 0 && difference <= 0x1p-7 * largest));
  }
  // other errors are errors, and so is the refusal of what is left without the epilogue
  Products const p(memory, false), p8(memory, true);
  lt_record() = {.multiplies_epilogues = false, .refusal = CUBLAS_STATUS_INVALID_VALUE};
  Cuda cuda;
  BOOST_TEST(message_of([&] { launch(cuda, p.forward); }).find("INVALID_VALUE") != std::string::npos);
  lt_record() = {};
  Gemm shifted = p8.forward;
  shifted.a_scale = memory(DType::fp32, {1}, 4);
  BOOST_TEST(message_of([&] { launch(cuda, shifted); }).find("NOT_SUPPORTED") != std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
