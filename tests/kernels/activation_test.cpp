#define BOOST_TEST_MODULE activation
#include "kernels/activation/activation.hpp"

#include <cmath>

#include "any_team.hpp"
#include "core/element.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

constexpr ActivationKind kinds[] = {ActivationKind::gelu, ActivationKind::gelu_erf, ActivationKind::swiglu};
char const* const names[] = {"gelu", "gelu_erf", "swiglu"};

Activation make_forward(Tensors& t, DType type, ActivationKind kind, std::int64_t tokens, std::int64_t features,
                        Uniform range) {
  std::int64_t const wide = kind == ActivationKind::swiglu ? 2 * features : features;
  return {.kind = kind, .x = t.in(type, {tokens, wide}, range, strided), .y = t.out(type, {tokens, features}, strided)};
}
ActivationBackward make_backward(Tensors& t, DType type, ActivationKind kind, std::int64_t tokens,
                                 std::int64_t features, Uniform range) {
  std::int64_t const wide = kind == ActivationKind::swiglu ? 2 * features : features;
  return {.kind = kind,
          .x = t.in(type, {tokens, wide}, range, strided),
          .dy = t.in(type, {tokens, features}, strided),
          .dx = t.out(type, {tokens, wide}, strided)};
}

template <class Op, class Make>
std::vector<Case<Op>> cases(Make make, std::string const& direction) {
  std::vector<Case<Op>> all;
  for (int k = 0; k < 3; ++k) {
    ActivationKind const kind = kinds[k];
    auto add = [&](std::string const& name, std::int64_t tokens, std::int64_t features, Uniform range, bool speed) {
      all.push_back({names[k] + direction + name,
                     [=](Tensors& t, DType type) { return make(t, type, kind, tokens, features, range); },
                     {.sum_length = 16, .speed = speed, .dtypes = dtypes(speed)}});
    };
    add(", shorter than a vector", 3, 5, {-3, 3}, false);
    add(", ragged", 37, 1031, {-5, 5}, false);
    add(", long rows", 2, 40007, {-1, 1}, false);
    add(", whole 16-byte packs", 9, 136, {-4, 4}, false);
    add(", far out", 16, 100, {-60, 60}, false);
    constexpr std::int64_t tokens = Backend::speed_wide_tokens, features = 4 * Backend::speed_hidden;
    add(concat(" ", tokens, " x ", features), tokens, features, {-3, 3}, true);
  }
  return all;
}
std::vector<Case<Activation>> forwards() { return cases<Activation>(make_forward, ""); }
std::vector<Case<ActivationBackward>> backwards() { return cases<ActivationBackward>(make_backward, " backward"); }

}  // namespace

BOOST_AUTO_TEST_CASE(forward) { check_all(forwards()); }
BOOST_AUTO_TEST_CASE(backward) { check_all(backwards()); }
SELENITE_SPEED_TEST(forwards)
SELENITE_SPEED_TEST(backwards)

BOOST_AUTO_TEST_CASE(known_values) {  // from tables of the normal distribution and of the hyperbolic tangent
  double x[] = {1.0, 3.0}, y[1];
  Activation op{.kind = ActivationKind::gelu_erf, .x = Tensor::of(x, {1, 1}), .y = Tensor::of(y, {1, 1})};
  reference(op);
  BOOST_TEST(y[0] == 0.841344746068542949, boost::test_tools::tolerance(1e-14));
  op.kind = ActivationKind::gelu;  // 0.5 (1 + tanh(0.8335649622...))
  reference(op);
  BOOST_TEST(y[0] == 0.5 * (1 + std::tanh(1.044715 * std::sqrt(2 / std::acos(-1.0)))),
             boost::test_tools::tolerance(1e-14));
  op.kind = ActivationKind::swiglu, op.x = Tensor::of(x, {1, 2});
  reference(op);
  BOOST_TEST(y[0] == 3 * 0.731058578630004879, boost::test_tools::tolerance(1e-14));
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (ActivationKind const kind : kinds) {
    Tensors t(Tensors::doubles);
    Activation const f = make_forward(t, DType::fp64, kind, 3, 6, {-3, 3});
    ActivationBackward const b{
        .kind = kind, .x = f.x, .dy = t.in(DType::fp64, f.y.shape()), .dx = t.out(DType::fp64, f.x.shape())};
    check_gradient([&] { reference(f); }, [&] { reference(b); }, {{f.y, b.dy}}, {{f.x, b.dx}});
  }
}

// Relative to each value, not to the tensor: the lower tail of GELU must keep its digits down to the smallest bf16 that
// matters.
BOOST_AUTO_TEST_CASE(every_bf16_value) {
  constexpr std::int64_t n = 65536;
  std::vector<float> x(n), y(n), dx(n), dy(n, 1);
  std::vector<double> exact_x(n), exact_y(n), exact_dx(n), exact_dy(n, 1);
  for (std::int64_t i = 0; i < n; ++i) {
    bf16 b;
    b.bits = static_cast<std::uint16_t>(i);
    float const v = static_cast<float>(b);
    exact_x[i] = x[i] = std::isfinite(v) && std::abs(v) < 40 ? v : 0;
  }
  for (ActivationKind const kind : {ActivationKind::gelu, ActivationKind::gelu_erf}) {
    run(Activation{kind, Tensor::of(x.data(), {n}), Tensor::of(y.data(), {n})});
    reference(Activation{kind, Tensor::of(exact_x.data(), {n}), Tensor::of(exact_y.data(), {n})});
    run(ActivationBackward{kind, Tensor::of(x.data(), {n}), Tensor::of(dy.data(), {n}), Tensor::of(dx.data(), {n})});
    reference(ActivationBackward{kind, Tensor::of(exact_x.data(), {n}), Tensor::of(exact_dy.data(), {n}),
                                 Tensor::of(exact_dx.data(), {n})});
    for (std::int64_t i = 0; i < n; ++i) {
      double const limit = std::abs(x[i]) < 5 ? 4e-6 : 1e-4;  // the exponent's own rounding, times its size
      BOOST_REQUIRE_MESSAGE(std::abs(y[i] - exact_y[i]) <= limit * std::abs(exact_y[i]) + 1e-35,
                            "x " << x[i] << ": " << y[i] << ", exact " << exact_y[i]);
      BOOST_REQUIRE_MESSAGE(std::abs(dx[i] - exact_dx[i]) <= 2e-6 * std::abs(exact_dx[i]) + 1e-6,
                            "slope at " << x[i] << ": " << dx[i] << ", exact " << exact_dx[i]);
    }
  }
}

BOOST_AUTO_TEST_CASE(nan_stays_and_infinity_saturates) {
  std::vector<float> x{std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1}, y(3);
  for (ActivationKind const kind : {ActivationKind::gelu, ActivationKind::gelu_erf}) {
    run(Activation{kind, Tensor::of(x.data(), {3}), Tensor::of(y.data(), {3})});
    BOOST_TEST(std::isnan(y[0]));
    BOOST_TEST(y[1] == std::numeric_limits<float>::infinity());
    BOOST_TEST(y[2] > 0.84f);
  }
}

BOOST_AUTO_TEST_CASE(in_place) {
  Tensors apart(Tensors::rounded), together(Tensors::rounded);
  ActivationBackward const a = make_backward(apart, DType::bf16, ActivationKind::gelu, 7, 333, {-3, 3});
  ActivationBackward b = make_backward(together, DType::bf16, ActivationKind::gelu, 7, 333, {-3, 3});
  b.dx = b.dy;
  run(a);
  run(b);
  for (std::int64_t i = 0; i < a.dx.count(); ++i) BOOST_REQUIRE_EQUAL(load(a.dx, i), load(b.dx, i));
}
