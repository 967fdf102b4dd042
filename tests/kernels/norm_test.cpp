#define BOOST_TEST_MODULE norm
#include "kernels/norm/norm.hpp"

#include <cmath>

#include "any_team.hpp"
#include "core/element.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

Norm make_norm(Tensors& t, DType type, std::int64_t tokens, std::int64_t features, bool layer, bool bias) {
  Norm op{.x = t.in(type, {tokens, features}, Uniform{-1, 3}, strided),
          .y = t.out(type, {tokens, features}, strided),
          .weight = t.in(type, {features}, Uniform{0.5, 1.5}),
          .bias = {},
          .mean = {},
          .rstd = t.out(DType::fp32, {tokens}),
          .subtract_mean = layer,
          .eps = 1e-5};
  if (bias) op.bias = t.in(type, {features});
  if (layer) op.mean = t.out(DType::fp32, {tokens});
  return op;
}

NormBackward make_backward(Tensors& t, DType type, std::int64_t tokens, std::int64_t features, bool layer,
                           bool residual) {
  NormBackward op{.x = t.in(type, {tokens, features}, strided),
                  .dy = t.in(type, {tokens, features}, strided),
                  .dx = t.out(type, {tokens, features}, strided),
                  .weight = t.in(type, {features}, Uniform{0.5, 1.5}),
                  .mean = {},
                  .rstd = t.in(DType::fp32, {tokens}, Uniform{1, 2}),
                  .residual = {},
                  .dweight = t.inout(DType::fp32, {features}),
                  .dbias = {},
                  .subtract_mean = layer};
  if (residual) op.residual = t.in(type, {tokens, features}, strided);
  if (layer) op.mean = t.in(DType::fp32, {tokens}, Uniform{-0.1, 0.1}), op.dbias = t.inout(DType::fp32, {features});
  return op;
}

constexpr std::int64_t large_tokens = Backend::speed_tokens, large_features = Backend::speed_hidden;
std::string const large = concat(" ", large_tokens, " x ", large_features);

std::vector<Case<Norm>> norms() {
  auto c = [](std::string name, std::int64_t tokens, std::int64_t features, bool layer, bool bias, bool speed = false) {
    return Case<Norm>{name,
                      [=](Tensors& t, DType type) { return make_norm(t, type, tokens, features, layer, bias); },
                      {.sum_length = static_cast<double>(features) / 16, .speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("one feature", 3, 1, false, false),
          c("shorter than a vector", 5, 7, true, true),
          c("layer norm, ragged", 70, 1031, true, true),
          c("layer norm without bias", 9, 64, true, false),
          c("RMS norm, ragged", 70, 1029, false, false),
          c("RMS norm with bias", 33, 259, false, true),
          c("whole 16-byte packs", 33, 1096, true, true),
          c("long rows of whole packs", 2, 32776, true, false),
          c("no tokens", 0, 16, true, true),
          c(concat("layer norm", large), large_tokens, large_features, true, true, true),
          c(concat("RMS norm", large), large_tokens, large_features, false, false, true)};
}

std::vector<Case<NormBackward>> backwards() {
  auto c = [](std::string name, std::int64_t tokens, std::int64_t features, bool layer, bool residual,
              bool speed = false) {
    return Case<NormBackward>{
        name,
        [=](Tensors& t, DType type) { return make_backward(t, type, tokens, features, layer, residual); },
        {.sum_length = static_cast<double>(features + tokens) / 16, .speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("shorter than a vector", 5, 7, true, false),
          c("layer norm, ragged", 70, 1031, true, true),
          c("RMS norm, ragged", 1100, 37, false, false),
          c("RMS norm and residual", 33, 259, false, true),
          c("whole 16-byte packs", 35, 1096, true, true),
          c("long rows of whole packs", 3, 8200, true, true),
          c("no tokens", 0, 16, true, true),
          c(concat("layer norm backward", large), large_tokens, large_features, true, true, true),
          c(concat("RMS norm backward", large), large_tokens, large_features, false, true, true)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(forward) { check_all(norms()); }
BOOST_AUTO_TEST_CASE(backward) { check_all(backwards()); }
SELENITE_SPEED_TEST(norms)
SELENITE_SPEED_TEST(backwards)

BOOST_AUTO_TEST_CASE(reference_by_hand) {
  double x[] = {1, 3, 5, 7}, y[4], mean[1], rstd[1], weight[] = {1, 1, 2, 1}, bias[] = {0, 0, 0, 10};
  Norm op{.x = Tensor::of(x, {1, 4}),
          .y = Tensor::of(y, {1, 4}),
          .weight = Tensor::of(weight, {4}),
          .bias = Tensor::of(bias, {4}),
          .mean = Tensor::of(mean, {1}),
          .rstd = Tensor::of(rstd, {1}),
          .subtract_mean = true,
          .eps = 4};
  reference(op);  // mean 4, variance (9+1+1+9)/4 = 5, with eps 9: rstd 1/3
  BOOST_TEST(mean[0] == 4.0, boost::test_tools::tolerance(1e-15));
  BOOST_TEST(rstd[0] == 1.0 / 3, boost::test_tools::tolerance(1e-15));
  double const expected[] = {-1, -1.0 / 3, 2.0 / 3, 11};
  for (int i = 0; i < 4; ++i) BOOST_TEST(y[i] == expected[i], boost::test_tools::tolerance(1e-15));
}

BOOST_AUTO_TEST_CASE(gradients) {
  for (bool const layer : {true, false}) {
    Tensors t(Tensors::doubles);
    Norm const f = make_norm(t, DType::fp64, 3, 5, layer, true);
    NormBackward const b{.x = f.x,
                         .dy = t.in(DType::fp64, {3, 5}),
                         .dx = t.out(DType::fp64, {3, 5}),
                         .weight = f.weight,
                         .mean = f.mean,
                         .rstd = f.rstd,
                         .residual = {},
                         .dweight = t.out(DType::fp64, {5}),
                         .dbias = t.out(DType::fp64, {5}),
                         .subtract_mean = layer};
    auto backward = [&] {
      for (std::int64_t i = 0; i < 5; ++i) store(b.dweight, i, 0), store(b.dbias, i, 0);
      reference(b);
    };
    check_gradient([&] { reference(f); }, backward, {{f.y, b.dy}},
                   {{f.x, b.dx}, {f.weight, b.dweight}, {f.bias, b.dbias}});
  }
}

BOOST_AUTO_TEST_CASE(more_than_a_warps_worth_of_tokens_a_block) {  // on a device
  auto const make = [](Tensors& t, DType type) { return make_backward(t, type, 16900, 8, true, true); };
  check_launch(Case<NormBackward>{"many tokens", make, {.sum_length = 16900.0 / 16}}, DType::bf16, packed, 1 << 20);
}

BOOST_AUTO_TEST_CASE(in_place) {  // dx over the residual, and dx over dy
  for (bool const over_residual : {true, false}) {
    Tensors apart(Tensors::rounded), together(Tensors::rounded);
    NormBackward const a = make_backward(apart, DType::bf16, 40, 131, true, true);
    NormBackward b = make_backward(together, DType::bf16, 40, 131, true, true);
    b.dx = over_residual ? b.residual : b.dy;
    run(a);
    run(b);
    for (std::int64_t i = 0; i < a.dx.count(); ++i) BOOST_REQUIRE_EQUAL(load(a.dx, i), load(b.dx, i));
  }
}

BOOST_AUTO_TEST_CASE(nan_stays) {  // a NaN must reach the loss, where it is seen
  Tensors t(Tensors::rounded);
  Norm const op = make_norm(t, DType::bf16, 2, 100, true, true);
  store(op.x, 150, std::numeric_limits<double>::quiet_NaN());
  run(op);
  BOOST_TEST(!std::isnan(load(op.y, 0, 3)));
  BOOST_TEST(std::isnan(load(op.y, 1, 3)));
}

BOOST_AUTO_TEST_CASE(too_little_workspace_is_refused) {
  Tensors t(Tensors::rounded);
  NormBackward const op = make_backward(t, DType::fp32, 64, 100, true, false);
  BOOST_CHECK_THROW(workspace(op, 100), Error);
}
