#define BOOST_TEST_MODULE gemm
#include "kernels/gemm/gemm.hpp"

#include <cmath>

#include "cases.hpp"
#include "core/element.hpp"

namespace selenite::test {
namespace {

struct Sizes {
  std::int64_t m, n, k;
};

Gemm gemm(Tensors& t, DType type, DType out, Sizes s, bool transpose_a, bool transpose_b, bool accumulate = false) {
  Tensor const a = t.in(type, transpose_a ? Shape{s.k, s.m} : Shape{s.m, s.k}, strided);
  Tensor const b = t.in(type, transpose_b ? Shape{s.n, s.k} : Shape{s.k, s.n}, strided);
  return {.a = a,
          .b = b,
          .out = accumulate ? t.inout(out, {s.m, s.n}, {}, strided) : t.out(out, {s.m, s.n}, strided),
          .transpose_a = transpose_a,
          .transpose_b = transpose_b,
          .accumulate = accumulate};
}

Gemm gelu_gemm(Tensors& t, DType type, Sizes s, bool bias) {
  Gemm op = gemm(t, type, type, s, false, true);
  if (bias) op.bias = t.in(type, {s.n});
  op.epilogue = Epilogue::gelu, op.before = t.out(type, {s.m, s.n}, strided);
  return op;
}
Gemm gelu_backward_gemm(Tensors& t, DType type, Sizes s) {
  Gemm op = gemm(t, type, type, s, false, false);
  op.epilogue = Epilogue::gelu_backward, op.before = t.in(type, {s.m, s.n}, Uniform{-4, 4}, strided);
  return op;
}
Gemm bias_gradient_gemm(Tensors& t, DType type, Sizes s) {
  Gemm op = gemm(t, type, DType::fp32, s, true, false, true);
  op.bias_gradient = t.out(DType::fp32, {1, s.m});
  return op;
}

std::vector<Case<Gemm>> gemm_cases() {
  std::vector<Case<Gemm>> cases;
  for (Sizes const s : {Sizes{1, 1, 1}, Sizes{5, 3, 130}, Sizes{67, 131, 33}, Sizes{130, 1, 70}, Sizes{1, 190, 70}}) {
    for (int transpose = 0; transpose < 4; ++transpose) {
      bool const ta = transpose & 1, tb = transpose & 2;
      std::string const name = concat(s.m, " x ", s.n, " x ", s.k, ta ? ", a^T" : "", tb ? ", b^T" : "");
      Options const options{.sum_length = static_cast<double>(s.k)};
      cases.push_back({name, [=](Tensors& t, DType type) { return gemm(t, type, type, s, ta, tb); }, options});
      cases.push_back({name + ", into fp32, added",
                       [=](Tensors& t, DType type) { return gemm(t, type, DType::fp32, s, ta, tb, true); }, options});
      cases.push_back({name + ", bias, added",
                       [=](Tensors& t, DType type) {
                         Gemm op = gemm(t, type, type, s, ta, tb, true);
                         op.bias = t.in(type, {s.n});
                         return op;
                       },
                       {.sum_length = options.sum_length, .roundings_inside = Backend::roundings_before_bias}});
    }
  }
  cases.push_back({"scaled",
                   [](Tensors& t, DType type) {
                     Gemm op = gemm(t, type, type, {33, 47, 20}, false, true, true);
                     op.scale = 0.3;
                     return op;
                   },
                   {.sum_length = 20}});
  // more than one block of rows and columns with little scratch, and of the sum with any
  cases.push_back({"blocks",
                   [](Tensors& t, DType type) {
                     Gemm op = gemm(t, type, type, {530, 530, 70}, false, true);
                     op.bias = t.in(type, {530});
                     return op;
                   },
                   {.sum_length = 70}});
  cases.push_back({"blocks, added",
                   [](Tensors& t, DType type) {
                     return gemm(t, type, DType::fp32, {40, 30, 2100}, true, false, true);
                   },
                   {.sum_length = 2100}});
  cases.push_back({"blocks of a long sum",
                   [](Tensors& t, DType type) {
                     return gemm(t, type, type, {30, 40, 2100}, false, false, true);
                   },
                   {.sum_length = 2100}});

  for (bool const transposed : {false, true})
    cases.push_back({concat("sums as long as a vocabulary", transposed ? ", b^T" : ""),
                     [=](Tensors& t, DType type) {
                       return gemm(t, type, type, {5, 40, 20000}, false, transposed);
                     },
                     {.sum_length = 20000, .dtypes = {DType::bf16}}});

  // whole packs of 8 columns, which libraries ask for, and others
  for (Sizes const s : {Sizes{5, 3, 30}, Sizes{67, 136, 33}, Sizes{130, 24, 70}}) {
    std::string const name = concat(s.m, " x ", s.n, " x ", s.k);
    Options const options{.sum_length = static_cast<double>(s.k), .roundings_inside = 1};
    for (bool const bias : {false, true})
      cases.push_back(
          {name + (bias ? ", gelu, bias" : ", gelu"),
           [=](Tensors& t, DType type) { return gelu_gemm(t, type, s, bias); },
           {.sum_length = options.sum_length, .roundings_inside = 1 + (bias ? Backend::roundings_before_bias : 0)}});
    cases.push_back({name + ", gelu's backward pass",
                     [=](Tensors& t, DType type) { return gelu_backward_gemm(t, type, s); }, options});
    cases.push_back({name + ", the bias' gradient",
                     [=](Tensors& t, DType type) { return bias_gradient_gemm(t, type, s); }, options});
  }

  // a GPT's layer (on a CPU of GPT-2 124M): y = x W^T, dx = dy W, dW += dy^T x
  constexpr std::int64_t h = Backend::speed_hidden, vocabulary = 50304;
  struct Linear {
    char const* name;
    std::int64_t out, in;
  };
  for (Linear const l : {Linear{"qkv", 3 * h, h}, Linear{"proj", h, h}, Linear{"fc", 4 * h, h}, Linear{"fc2", h, 4 * h},
                         Linear{"head", vocabulary, h}}) {
    Options const options{.speed = true, .dtypes = {DType::fp32, DType::bf16}};
    std::int64_t const tokens = l.out == vocabulary ? Backend::speed_tokens / 4 : Backend::speed_tokens;
    cases.push_back({concat(l.name, " forward"),
                     [=](Tensors& t, DType type) {
                       return gemm(t, type, type, {tokens, l.out, l.in}, false, true);
                     },
                     options});
    cases.push_back({concat(l.name, " dgrad"),
                     [=](Tensors& t, DType type) {
                       return gemm(t, type, type, {tokens, l.in, l.out}, false, false);
                     },
                     options});
    cases.push_back({concat(l.name, " wgrad"),
                     [=](Tensors& t, DType type) {
                       return gemm(t, type, DType::fp32, {l.out, l.in, tokens}, true, false, true);
                     },
                     options});
    cases.push_back({concat(l.name, " wgrad, the bias' gradient"),
                     [=](Tensors& t, DType type) {
                       return bias_gradient_gemm(t, type, {l.out, l.in, tokens});
                     },
                     options});
    if (std::string(l.name) == "fc")
      cases.push_back({"fc forward, gelu, bias",
                       [=](Tensors& t, DType type) {
                         return gelu_gemm(t, type, {tokens, l.out, l.in}, true);
                       },
                       options});
    if (std::string(l.name) == "fc2")
      cases.push_back({"fc2 dgrad, gelu's backward pass",
                       [=](Tensors& t, DType type) {
                         return gelu_backward_gemm(t, type, {tokens, l.in, l.out});
                       },
                       options});
  }
  return cases;
}

constexpr Rows fp8_rows = Backend::any_fp8_size ? strided : packed;
/// Operands of 8 bits: forward (e4m3 and e4m3, bias), the input's gradient, the weight's (added to fp32).
Gemm fp8_gemm(Tensors& t, DType a, DType b, DType out, Sizes s, bool bias, bool accumulate) {
  auto power = [](int exponent) { return Values([=](std::int64_t) { return std::ldexp(1.0, exponent); }); };
  auto operand = [&](DType type, Shape shape) { return t.in(type, shape, Uniform{-300, 300}, fp8_rows); };
  Gemm op{.a = operand(a, {s.m, s.k}),
          .b = operand(b, {s.n, s.k}),
          .out = accumulate ? t.inout(out, {s.m, s.n}, {}, fp8_rows) : t.out(out, {s.m, s.n}, fp8_rows),
          .transpose_b = true,
          .accumulate = accumulate,
          .a_scale = t.in(DType::fp32, {1}, power(-6)),
          .b_scale = t.in(DType::fp32, {1}, power(-9))};
  if (bias) op.bias = t.in(DType::bf16, {s.n});
  return op;
}

Gemm fp8_gelu_gemm(Tensors& t, Sizes s, bool bias) {
  Gemm op = fp8_gemm(t, DType::e4m3, DType::e4m3, DType::bf16, s, bias, false);
  op.epilogue = Epilogue::gelu, op.before = t.out(DType::bf16, {s.m, s.n}, fp8_rows);
  return op;
}
Gemm fp8_gelu_backward_gemm(Tensors& t, Sizes s) {
  Gemm op = fp8_gemm(t, DType::e5m2, DType::e4m3, DType::bf16, s, false, false);
  op.epilogue = Epilogue::gelu_backward, op.before = t.in(DType::bf16, {s.m, s.n}, Uniform{-4, 4}, fp8_rows);
  return op;
}

std::vector<Case<Gemm>> fp8_cases() {
  std::vector<Case<Gemm>> cases;
  std::vector<Sizes> all{{16, 16, 16}, {48, 80, 144}, {64, 32, 1040}};
  if (Backend::any_fp8_size) all.insert(all.end(), {{1, 1, 1}, {67, 131, 33}, {5, 3, 130}});
  for (Sizes const s : all) {
    auto add = [&](char const* what, DType a, DType b, DType out, bool bias, bool accumulate) {
      cases.push_back({concat(what, ", ", s.m, " x ", s.n, " x ", s.k),
                       [=](Tensors& t, DType) { return fp8_gemm(t, a, b, out, s, bias, accumulate); },
                       {.sum_length = Backend::fp8_sum_length(s.k), .dtypes = {DType::bf16}}});
    };
    add("fp8 forward", DType::e4m3, DType::e4m3, DType::bf16, true, false);
    add("fp8 forward without bias", DType::e4m3, DType::e4m3, DType::bf16, false, false);
    add("fp8 dgrad", DType::e5m2, DType::e4m3, DType::bf16, false, false);
    add("fp8 wgrad", DType::e5m2, DType::e4m3, DType::fp32, false, true);

    // where no library makes them, gelu is given the product, and its slope is multiplied with it, rounded to bf16
    std::string const name = concat(", ", s.m, " x ", s.n, " x ", s.k);
    Options const rounded{.sum_length = Backend::fp8_sum_length(s.k), .roundings_inside = 1, .dtypes = {DType::bf16}};
    for (bool const bias : {false, true})
      cases.push_back({concat("fp8 forward, gelu", bias ? ", bias" : "", name),
                       [=](Tensors& t, DType) { return fp8_gelu_gemm(t, s, bias); }, rounded});
    cases.push_back({concat("fp8 dgrad, gelu's backward pass", name),
                     [=](Tensors& t, DType) { return fp8_gelu_backward_gemm(t, s); }, rounded});
  }

  // an MLP's products with gelu, and without
  constexpr std::int64_t h = Backend::speed_hidden, tokens = Backend::speed_tokens;
  Options const large{.speed = true, .dtypes = {DType::bf16}};
  Sizes const fc{tokens, 4 * h, h};
  cases.push_back(
      {"fp8 fc forward, bias",
       [=](Tensors& t, DType) { return fp8_gemm(t, DType::e4m3, DType::e4m3, DType::bf16, fc, true, false); }, large});
  cases.push_back({"fp8 fc forward, gelu, bias", [=](Tensors& t, DType) { return fp8_gelu_gemm(t, fc, true); }, large});
  cases.push_back(
      {"fp8 fc2 dgrad",
       [=](Tensors& t, DType) { return fp8_gemm(t, DType::e5m2, DType::e4m3, DType::bf16, fc, false, false); }, large});
  cases.push_back(
      {"fp8 fc2 dgrad, gelu's backward pass", [=](Tensors& t, DType) { return fp8_gelu_backward_gemm(t, fc); }, large});
  return cases;
}

std::vector<Case<SumRows>> sum_rows_cases() {
  auto make = [](std::int64_t rows, std::int64_t cols, bool accumulate) {
    return [=](Tensors& t, DType type) {
      return SumRows{t.in(type, {rows, cols}, strided),
                     accumulate ? t.inout(DType::fp32, {cols}) : t.out(DType::fp32, {cols}), accumulate};
    };
  };
  return {{"one row", make(1, 5, true), {.sum_length = 1}},
          {"ragged", make(301, 77, false), {.sum_length = 301}},
          {"ragged, added", make(1030, 131, true), {.sum_length = 1030}},
          {"whole 16-byte packs", make(300, 136, true), {.sum_length = 300}},
          {"ffn bias",
           make(Backend::speed_tokens, 4 * Backend::speed_hidden, true),
           {.speed = true, .dtypes = {DType::fp32, DType::bf16}}}};
}

}  // namespace

BOOST_AUTO_TEST_CASE(gemm_by_hand) {
  float a[] = {1, 2, 3, 4, 5, 6}, b[] = {1, 0, -1, 2, 0, 1}, bias[] = {10, 20}, out[] = {1, 1, 1, 1};
  reference(Gemm{.a = Tensor::of(a, {2, 3}),
                 .b = Tensor::of(b, {3, 2}),
                 .out = Tensor::of(out, {2, 2}),
                 .bias = Tensor::of(bias, {2}),
                 .accumulate = true});
  float const want[] = {1 - 2 + 0 + 11, 4 + 3 + 21, 4 - 5 + 0 + 11, 10 + 6 + 21};
  BOOST_CHECK_EQUAL_COLLECTIONS(out, out + 4, want, want + 4);
  float column_sums[3];
  reference(SumRows{Tensor::of(a, {2, 3}), Tensor::of(column_sums, {3})});
  float const sums[] = {5, 7, 9};
  BOOST_CHECK_EQUAL_COLLECTIONS(column_sums, column_sums + 3, sums, sums + 3);
}

BOOST_AUTO_TEST_CASE(gemm_cases_on_cpu) { check(gemm_cases()); }
// With room for all rows at once and for some; the reference would take minutes.
BOOST_AUTO_TEST_CASE(long_sums_in_blocks_of_rows) {
  Tensors t(Tensors::rounded), other(Tensors::rounded);
  Sizes const sizes{140, 1000, 16400};
  Gemm const all = gemm(t, DType::bf16, DType::bf16, sizes, false, false),
             some = gemm(other, DType::bf16, DType::bf16, sizes, false, false);
  GuardedWorkspace large(workspace(all, 64 << 20)), small(workspace(some, 1 << 20));
  Backend::run(large.span(), all), Backend::run(small.span(), some);
  double largest = 0, difference = 0;
  for (std::int64_t i = 0; i < all.out.count(); ++i) {
    largest = std::max(largest, std::abs(load(all.out, i)));
    difference = std::max(difference, std::abs(load(all.out, i) - load(some.out, i)));
  }
  BOOST_TEST(largest > 1);
  BOOST_TEST(difference <= largest * 0x1p-8);
}
BOOST_AUTO_TEST_CASE(fp8_cases_on_cpu) { check(fp8_cases()); }
BOOST_AUTO_TEST_CASE(sum_rows_cases_on_cpu) { check(sum_rows_cases()); }

// A linear layer's backward is two GEMMs and a SumRows.
BOOST_AUTO_TEST_CASE(linear_gradient) {
  Tensors t(Tensors::doubles);
  Tensor const x = t.in(DType::fp32, {5, 4}), w = t.in(DType::fp32, {3, 4}), bias = t.in(DType::fp32, {3}),
               y = t.out(DType::fp32, {5, 3});
  Tensor const dy = t.in(DType::fp32, {5, 3}), dx = t.out(DType::fp32, {5, 4}), dw = t.out(DType::fp32, {3, 4}),
               dbias = t.out(DType::fp32, {3});
  check_gradient([&] { reference(Gemm{.a = x, .b = w, .out = y, .transpose_b = true, .bias = bias}); },
                 [&] {
                   reference(Gemm{.a = dy, .b = w, .out = dx});
                   reference(Gemm{.a = dy, .b = x, .out = dw, .transpose_a = true});
                   reference(SumRows{dy, dbias});
                 },
                 {{y, dy}}, {{x, dx}, {w, dw}, {bias, dbias}});
}

// The same where the products make GELU and the bias' gradient: y = gelu(before) W2^T, before = x W^T + b.
BOOST_AUTO_TEST_CASE(epilogues_gradient) {
  Tensors t(Tensors::doubles);
  Tensor const x = t.in(DType::fp32, {5, 4}), w = t.in(DType::fp32, {3, 4}), bias = t.in(DType::fp32, {3}),
               before = t.out(DType::fp32, {5, 3}), y = t.out(DType::fp32, {5, 3}), z = t.out(DType::fp32, {5, 2}),
               w2 = t.in(DType::fp32, {2, 3});
  Tensor const dz = t.in(DType::fp32, {5, 2}), d_before = t.out(DType::fp32, {5, 3}), dx = t.out(DType::fp32, {5, 4}),
               dw = t.out(DType::fp32, {3, 4}), dbias = t.out(DType::fp32, {3});
  auto const forward = [&] {
    reference(Gemm{
        .a = x, .b = w, .out = y, .transpose_b = true, .bias = bias, .epilogue = Epilogue::gelu, .before = before});
    reference(Gemm{.a = y, .b = w2, .out = z, .transpose_b = true});
  };
  auto const backward = [&] {
    reference(Gemm{.a = dz, .b = w2, .out = d_before, .epilogue = Epilogue::gelu_backward, .before = before});
    reference(Gemm{.a = d_before, .b = w, .out = dx});
    reference(Gemm{.a = d_before, .b = x, .out = dw, .transpose_a = true, .bias_gradient = dbias});
  };
  check_gradient(forward, backward, {{z, dz}}, {{x, dx}, {w, dw}, {bias, dbias}});
}

BOOST_AUTO_TEST_CASE(what_an_epilogue_does_not_go_with) {
  Tensors t(Tensors::rounded);
  auto const refused = [&](Gemm const& op, char const* why) {
    Cpu cpu;
    std::string said = "nothing";
    try {
      launch(cpu, op);
    } catch (Error const& e) {
      said = e.what();
    }
    BOOST_CHECK_MESSAGE(said.find(why) != said.npos, said);
  };
  Gemm op = gelu_gemm(t, DType::bf16, {8, 8, 8}, true);
  op.accumulate = true;
  refused(op, "accumulates");
  op.accumulate = false, op.before = {};
  refused(op, "they are alike");
  op = gelu_backward_gemm(t, DType::bf16, {8, 8, 8}), op.bias = t.in(DType::bf16, {8});
  refused(op, "has a bias");
  op = bias_gradient_gemm(t, DType::bf16, {8, 8, 8}), op.transpose_a = false;
  refused(op, "it is fp32 [m]");
  op = fp8_gemm(t, DType::e5m2, DType::e4m3, DType::fp32, {16, 16, 16}, false, true);
  op.transpose_a = true, op.bias_gradient = t.out(DType::fp32, {1, 16});
  refused(op, "that of rounded values");
  op = fp8_gelu_gemm(t, {16, 16, 16}, true), op.before = t.out(DType::fp16, {16, 16});
  refused(op, "they are alike");
}

// An epilogue is another pass over gelu's input, which is what it costs in 8 bits as in 16, and no FLOPs.
BOOST_AUTO_TEST_CASE(costs_of_epilogues) {
  Tensors t(Tensors::rounded);
  Sizes const s{32, 48, 64};
  for (Gemm const& op : {gelu_gemm(t, DType::bf16, s, true), gelu_backward_gemm(t, DType::bf16, s),
                         fp8_gelu_gemm(t, s, true), fp8_gelu_backward_gemm(t, s)}) {
    Gemm product = op;
    product.epilogue = Epilogue::none, product.before = {};
    Cost const with = cost(op), without = cost(product);
    BOOST_TEST(with.bytes - without.bytes == static_cast<double>(op.before.bytes()));
    BOOST_TEST(with.result_bytes - without.result_bytes == static_cast<double>(op.before.bytes()));
    BOOST_TEST((with.flops == without.flops && with.work == Work::gemm && with.dtype == op.a.dtype()));
  }
}

// Whatever the library wants: less scratch than workspace() asked for is slower or refused, never exceeded.
BOOST_AUTO_TEST_CASE(little_scratch) {
  for (DType const type : {DType::fp32, DType::bf16, DType::fp16}) {
    for (std::int64_t const bytes : {0, 1 << 14, 1 << 17, 1 << 20}) {
      Tensors want(Tensors::doubles), got(Tensors::rounded);
      reference(gemm(want, type, type, {700, 200, 100}, false, false));
      Gemm const op = gemm(got, type, type, {700, 200, 100}, false, false);
      GuardedWorkspace scratch(bytes);
      Cpu cpu;
      cpu.workspace = scratch.span();
      BOOST_TEST_CONTEXT(name(type) << ", " << bytes << " bytes") {
        try {
          launch(cpu, op);
          got.check_close(want, 100, false, type);
          BOOST_CHECK_EQUAL(cpu.flops, cost(op).flops);
        } catch (Error const& error) {
          BOOST_CHECK_MESSAGE(bytes < 1 << 17 && type != DType::fp32, error.what());
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(gemm_speed, *boost::unit_test::label("speed") * boost::unit_test::disabled()) {
  measure(gemm_cases());
  measure(fp8_cases());
  measure(sum_rows_cases());
}

}  // namespace selenite::test
