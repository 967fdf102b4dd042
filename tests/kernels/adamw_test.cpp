#define BOOST_TEST_MODULE adamw
#include "kernels/adamw/adamw.hpp"

#include <cmath>
#include <fstream>
#include <iterator>
#include <sstream>

#include "any_team.hpp"
#include "core/element.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

/// The dtype is the weight's; with fp32 master is the weight.
AdamW make_adamw(Tensors& t, DType type, std::int64_t n, std::int64_t step, double scale = 0.5) {
  return {.gradient = t.in(DType::fp32, {n}),
          .master = t.inout(DType::fp32, {n}),
          .m = t.inout(DType::fp32, {n}, Uniform{-0.1, 0.1}),
          .v = t.inout(DType::fp32, {n}, Uniform{0, 0.01}),
          .weight = type == DType::fp32 ? Tensor() : t.out(type, {n}),
          .gradient_scale = t.in(DType::fp32, {1}, Values([=](std::int64_t) { return scale; })),
          .lr = 1e-2,
          .beta1 = 0.9,
          .beta2 = 0.95,
          .eps = 1e-8,
          .weight_decay = 0.1,
          .step = step};
}
Sgd make_sgd(Tensors& t, DType type, std::int64_t n) {
  return {.gradient = t.in(DType::fp32, {n}),
          .master = t.inout(DType::fp32, {n}),
          .weight = type == DType::fp32 ? Tensor() : t.out(type, {n}),
          .gradient_scale = t.in(DType::fp32, {1}, Values([](std::int64_t) { return 0.25; })),
          .lr = 0.1,
          .weight_decay = 0.01};
}

std::vector<Case<AdamW>> adamws() {
  auto c = [](std::string name, std::int64_t n, std::int64_t step, bool speed = false) {
    return Case<AdamW>{name,
                       [=](Tensors& t, DType type) { return make_adamw(t, type, n, step); },
                       {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("one", 1, 1), c("ragged", 1003, 7), c("pieces", 100003, 100000), c("adamw 32 M", 32 << 20, 10, true)};
}
std::vector<Case<Sgd>> sgds() {
  auto c = [](std::string name, std::int64_t n, bool speed = false) {
    return Case<Sgd>{
        name, [=](Tensors& t, DType type) { return make_sgd(t, type, n); }, {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("ragged", 1003), c("pieces", 100003), c("sgd 64 M", 64 << 20, true)};
}

std::vector<double> next_line(std::istream& file) {
  std::string line;
  std::getline(file, line);
  std::istringstream words(line);
  return {std::istream_iterator<double>(words), {}};
}

/// Ten steps of PyTorch's AdamW in double (fixtures/adamw.py), played by `step` on tensors of T.
template <class T, class Step>
void check_pytorch(Step step, double tolerance) {
  std::ifstream file("tests/kernels/fixtures/adamw.txt");
  BOOST_REQUIRE(file);
  std::vector<double> const options = next_line(file), initial = next_line(file);
  auto const n = static_cast<std::int64_t>(initial.size());
  std::vector<T> master(initial.begin(), initial.end()), m(initial.size()), v(initial.size()), gradient(initial.size()),
      scale{T(0.25)};
  for (std::int64_t i = 1; i <= 10; ++i) {
    std::vector<double> const g = next_line(file);
    for (std::size_t j = 0; j < g.size(); ++j) gradient[j] = static_cast<T>(4 * g[j]);  // undone by the scale
    auto of = [&](std::vector<T>& x) { return Tensor::of(x.data(), {n}); };
    step(AdamW{of(gradient),
               of(master),
               of(m),
               of(v),
               {},
               Tensor::of(scale.data(), {1}),
               options[0],
               options[1],
               options[2],
               options[3],
               options[4],
               i});
  }
  for (std::vector<T> const* got : {&master, &m, &v}) {
    std::vector<double> const expected = next_line(file);
    BOOST_REQUIRE_EQUAL(expected.size(), got->size());
    for (std::size_t j = 0; j < expected.size(); ++j)
      BOOST_TEST(std::abs(static_cast<double>((*got)[j]) - expected[j]) <=
                 tolerance * std::max(std::abs(expected[j]), 1e-25));
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(adamw) { check_all(adamws()); }
BOOST_AUTO_TEST_CASE(sgd) { check_all(sgds()); }
SELENITE_SPEED_TEST(adamws)
SELENITE_SPEED_TEST(sgds)

BOOST_AUTO_TEST_CASE(pytorch_reference) {
  check_pytorch<double>([](AdamW const& op) { reference(op); }, 1e-12);
}
BOOST_AUTO_TEST_CASE(pytorch_cpu) {
  check_pytorch<float>([](AdamW const& op) { run(op); }, 2e-5);
}

// A flat buffer is updated in runs of any length: a parameter's bits must not depend on where its run begins or ends.
BOOST_AUTO_TEST_CASE(cut_anywhere) {
  Tensors a(Tensors::rounded), b(Tensors::rounded);
  AdamW const whole = make_adamw(a, DType::bf16, 5000, 3), cut = make_adamw(b, DType::bf16, 5000, 3);
  run(whole);
  for (std::int64_t first = 0; first < 5000;) {
    std::int64_t const n = std::min<std::int64_t>(1 + first * 7 % 613, 5000 - first);
    auto piece = [&](Tensor const& x) { return Tensor(x.raw() + first * size_of(x.dtype()), x.dtype(), {n}); };
    AdamW op = cut;
    op.gradient = piece(cut.gradient), op.master = piece(cut.master), op.m = piece(cut.m), op.v = piece(cut.v),
    op.weight = piece(cut.weight);
    run(op);
    first += n;
  }
  b.check_same_bits(a);
}

BOOST_AUTO_TEST_CASE(a_scale_that_is_not_finite_changes_nothing) {
  for (double const scale : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Tensors a(Tensors::rounded), b(Tensors::rounded);
    make_adamw(a, DType::bf16, 100, 3, scale);
    run(make_adamw(b, DType::bf16, 100, 3, scale));
    b.check_same_bits(a);
  }
}
