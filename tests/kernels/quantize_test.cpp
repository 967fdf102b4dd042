#define BOOST_TEST_MODULE quantize
#include "kernels/quantize/quantize.hpp"

#include <cmath>
#include <limits>

#include "any_team.hpp"
#include "core/element.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

/// Values of many magnitudes and both signs, some beyond what 8 bits hold.
double spread(std::int64_t i) {
  double const fraction = 1 + static_cast<double>(i * 37 % 101) / 101;
  return std::ldexp(i % 3 ? fraction : -fraction, static_cast<int>(i * 53 % 41) - 24);
}
constexpr auto power = [](int exponent) { return [=](std::int64_t) { return std::ldexp(1.0, exponent); }; };

enum Wanted { both, straight, turned };

std::vector<Case<Quantize>> quantizations() {
  std::vector<Case<Quantize>> cases;
  auto add = [&](std::string const& what, Shape shape, DType to, int exponent, Wanted wanted, bool with_amax) {
    Shape const turned_shape{shape[1], shape[0]};
    cases.push_back({concat(what, " ", to_string(shape), " to ", name(to)), [=](Tensors& t, DType from) {
                       return Quantize{.x = t.in(from, shape, Values(spread), strided),
                                       .y = wanted == turned ? Tensor{} : t.out(to, shape),
                                       .transposed = wanted == straight ? Tensor{} : t.out(to, turned_shape),
                                       .scale = t.in(DType::fp32, {1}, Values(power(exponent))),
                                       .amax = with_amax ? t.inout(DType::fp32, {1}, {0, 1e-3}) : Tensor{}};
                     }});
  };
  for (DType const to : {DType::e4m3, DType::e5m2}) {
    add("both", {37, 211}, to, 0, both, true);
    add("both, whole packs", {136, 200}, to, 4, both, true);
    add("one order", {130, 72}, to, -7, straight, true);
    add("transposed", {72, 129}, to, 11, turned, false);
    add("a row", {1, 301}, to, 3, both, true);
  }
  // a larger amax than any element stays
  cases.push_back({"amax that stays", [](Tensors& t, DType from) {
                     return Quantize{.x = t.in(from, {40, 72}),
                                     .y = t.out(DType::e4m3, {40, 72}),
                                     .scale = t.in(DType::fp32, {1}, Values(power(2))),
                                     .amax = t.inout(DType::fp32, {1}, {20, 30})};
                   }});
  for (Wanted const wanted : {straight, both})
    cases.push_back({wanted == both ? "large, both" : "large",
                     [=](Tensors& t, DType from) {
                       constexpr std::int64_t tokens = Backend::speed_wide_tokens, features = 4 * Backend::speed_hidden;
                       return Quantize{.x = t.in(from, {tokens, features}),
                                       .y = t.out(DType::e4m3, {tokens, features}),
                                       .transposed = wanted == both ? t.out(DType::e4m3, {features, tokens}) : Tensor{},
                                       .scale = t.in(DType::fp32, {1}, Values(power(2))),
                                       .amax = t.inout(DType::fp32, {1}, {0, 0.1})};
                     },
                     {.speed = true, .dtypes = {DType::bf16}}});
  return cases;
}

std::vector<Case<AbsMax>> maxima() {
  auto c = [](std::string const& what, Shape shape, Uniform before, bool speed = false) {
    return Case<AbsMax>{what,
                        [=](Tensors& t, DType type) {
                          return AbsMax{t.in(type, shape, speed ? Values([](std::int64_t) { return 1.0; }) : spread,
                                             speed ? packed : strided),
                                        t.inout(DType::fp32, {1}, before)};
                        },
                        {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("ragged", {37, 1031}, {0, 1}), c("flat", {70001}, {0, 1}), c("one element", {1}, {0, 1e-9}),
          c("one that stays", {9, 70}, {1e6, 2e6}), c("64 M", {64 << 20}, {0, 1}, true)};
}

std::vector<Case<UpdateScales>> updates() {
  auto c = [](std::string const& what, std::int64_t steps, bool push, Values const& history, Values const& amax) {
    return Case<UpdateScales>{
        what,
        [=](Tensors& t, DType) {
          constexpr std::int64_t tensors = 133;
          Tensor const seen = t.inout(DType::fp32, {tensors}), all = t.inout(DType::fp32, {tensors, steps});
          for (std::int64_t i = 0; i < tensors; ++i) store(seen, i, amax(i));
          for (std::int64_t i = 0; i < tensors * steps; ++i) store(all, i, history(i));
          return UpdateScales{.amax = seen,
                              .history = all,
                              .scale = t.out(DType::fp32, {tensors}),
                              .inverse = t.out(DType::fp32, {tensors, 1}, strided),
                              .largest = steps % 2 ? 57344.0 : 448.0,
                              .initial = 16,
                              .margin = steps % 3,
                              .push = push};
        },
        {.dtypes = {DType::fp32}}};
  };
  auto const magnitude = [](std::int64_t i) { return static_cast<double>(static_cast<float>(std::abs(spread(i)))); };
  auto const odd = [=](std::int64_t i) {
    double const values[] = {0, std::numeric_limits<double>::infinity(), std::nan(""), 3e-39, 3e38, 1.75, 448, 0.875};
    return i % 3 ? magnitude(i) : values[i / 3 % 8];
  };
  auto const nothing = [](std::int64_t) { return 0.0; };
  return {c("one step", 1, true, magnitude, magnitude), c("a history", 16, true, magnitude, magnitude),
          c("without push", 7, false, magnitude, odd), c("not finite, tiny, at the bounds", 2, true, nothing, odd),
          c("empty", 4, false, nothing, magnitude)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(quantize) { check_all(quantizations()); }
BOOST_AUTO_TEST_CASE(abs_max) { check_all(maxima()); }
BOOST_AUTO_TEST_CASE(update_scales) { check_all(updates()); }
SELENITE_SPEED_TEST(quantizations)
SELENITE_SPEED_TEST(maxima)

// By the scalar types, which core's test holds against another implementation: every bf16, around every boundary.
BOOST_AUTO_TEST_CASE(bits_are_those_of_the_scalar_types) {
  std::vector<float> x;
  for (std::uint32_t i = 0; i < 65536; ++i)
    for (std::uint32_t const low : {0u, 1u, 0x8000u, 0xffffu}) x.push_back(std::bit_cast<float>(i << 16 | low));
  auto const n = static_cast<std::int64_t>(x.size());
  std::vector<e4m3> a(x.size());
  std::vector<e5m2> b(x.size());
  std::vector<float> one{1}, amax{0};
  Tensor const from = Tensor::of(x.data(), {n / 1024, 1024}), scale = Tensor::of(one.data(), {1});
  run(Quantize{.x = from, .y = Tensor::of(a.data(), from.shape()), .scale = scale, .amax = Tensor::of(amax.data(), {1})});
  run(Quantize{.x = from, .y = Tensor::of(b.data(), from.shape()), .scale = scale});
  for (std::size_t i = 0; i < x.size(); ++i) {
    BOOST_REQUIRE_EQUAL(int{a[i].bits}, int{e4m3(x[i]).bits});
    BOOST_REQUIRE_EQUAL(int{b[i].bits}, int{e5m2(x[i]).bits});
  }
  BOOST_TEST(amax[0] == std::numeric_limits<float>::infinity());
}

// What training relies on where layouts round differently: another scale, the same numbers.
BOOST_AUTO_TEST_CASE(any_power_of_two_rounds_alike) {
  std::vector<float> x(1000);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(std::ldexp(1 + static_cast<double>(i) / 1000, static_cast<int>(i % 8) - 4));
  std::vector<e4m3> a(x.size()), b(x.size());
  std::vector<float> low{1}, high{8};
  Shape const shape{1, 1000};
  run(Quantize{.x = Tensor::of(x.data(), shape), .y = Tensor::of(a.data(), shape), .scale = Tensor::of(low.data(), {1})});
  run(Quantize{.x = Tensor::of(x.data(), shape), .y = Tensor::of(b.data(), shape), .scale = Tensor::of(high.data(), {1})});
  for (std::size_t i = 0; i < x.size(); ++i)
    BOOST_REQUIRE_EQUAL(8 * static_cast<float>(a[i]), static_cast<float>(b[i]));
}

BOOST_AUTO_TEST_CASE(scales_by_hand) {
  float amax[] = {448, 449, 0.875f, 3}, history[] = {1, 2, 1, 2, 1, 2, 1, 8}, scale[4], inverse[4];
  UpdateScales op{.amax = Tensor::of(amax, {4}),
                  .history = Tensor::of(history, {4, 2}),
                  .scale = Tensor::of(scale, {4}),
                  .inverse = Tensor::of(inverse, {4, 1})};
  reference(op);
  float const want[] = {1, 0.5, 256, 128}, kept[] = {448, 1, 449, 1, 0.875, 1, 3, 1};
  BOOST_CHECK_EQUAL_COLLECTIONS(scale, scale + 4, want, want + 4);
  BOOST_CHECK_EQUAL_COLLECTIONS(history, history + 8, kept, kept + 8);
  BOOST_TEST((amax[0] == 0 && inverse[2] == 1.0f / 256));
}
