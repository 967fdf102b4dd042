#define BOOST_TEST_MODULE dropout
#include "kernels/dropout/dropout.hpp"

#include <cmath>
#include <set>

#include "any_team.hpp"
#include "core/element.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

struct Sizes {
  std::int64_t tokens, features, first_feature;
  double probability;
};

TokenPlaces places(Tensors& t, std::int64_t tokens) {
  return {.samples = t.integers(DType::int64, {tokens}, 0, 1ll << 40),
          .places = t.integers(DType::int32, {tokens}, 0, 4096)};
}
DropoutAdd make_forward(Tensors& t, DType type, Sizes s, bool bias, bool residual) {
  Shape const shape{s.tokens, s.features};
  DropoutAdd op{.x = t.in(type, shape, strided),
                .residual = {},
                .y = t.out(type, shape, strided),
                .bias = {},
                .site = {s.probability, 77, 5, 1},
                .tokens = places(t, s.tokens),
                .first_feature = s.first_feature};
  if (bias) op.bias = t.in(type, {s.features});
  if (residual) op.residual = t.in(type, shape, strided);
  return op;
}
DropoutBackward make_backward(Tensors& t, DType type, Sizes s) {
  Shape const shape{s.tokens, s.features};
  return {.dy = t.in(type, shape, strided),
          .dx = t.out(type, shape, strided),
          .site = {s.probability, 77, 5, 1},
          .tokens = places(t, s.tokens),
          .first_feature = s.first_feature};
}

constexpr std::int64_t large_tokens = Backend::speed_tokens, large_features = Backend::speed_hidden;
std::string const large = concat(" ", large_tokens, " x ", large_features);

std::vector<Case<DropoutAdd>> forwards() {
  auto c = [](std::string name, Sizes s, bool bias, bool residual, bool speed = false) {
    return Case<DropoutAdd>{name,
                            [=](Tensors& t, DType type) { return make_forward(t, type, s, bias, residual); },
                            {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("bias, residual, ragged", {37, 1031, 0, 0.1}, true, true),
          c("half a quad in", {37, 517, 514, 0.3}, false, true),
          c("nothing but dropout", {9, 3, 1, 0.5}, false, false),
          c("whole 16-byte packs", {9, 136, 0, 0.2}, true, true),
          c("whole packs, half a quad in", {9, 136, 6, 0.2}, true, true),
          c("longer than a piece", {3, 33001, 4, 0.1}, true, false),
          c("p = 0", {37, 1031, 0, 0}, true, true),
          c("p = 0, bias alone", {5, 9, 0, 0}, true, false),
          c(concat("dropout add", large), {large_tokens, large_features, 0, 0.1}, true, true, true),
          c(concat("bias and residual, p = 0,", large), {large_tokens, large_features, 0, 0}, true, true, true)};
}
std::vector<Case<DropoutBackward>> backwards() {
  auto c = [](std::string name, Sizes s, bool speed = false) {
    return Case<DropoutBackward>{name,
                                 [=](Tensors& t, DType type) { return make_backward(t, type, s); },
                                 {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("ragged", {37, 1031, 0, 0.1}), c("a quarter quad in", {37, 517, 513, 0.3}), c("p = 0", {5, 70, 0, 0}),
          c(concat("dropout backward", large), {large_tokens, large_features, 0, 0.1}, true)};
}
std::vector<Case<Add>> adds() {
  auto c = [](std::string name, Shape shape, double alpha, bool accumulate, bool speed = false) {
    return Case<Add>{name,
                     [=](Tensors& t, DType type) {
                       Tensor const x = t.in(type, shape, strided);
                       return Add{x, accumulate ? t.inout(type, shape, {}, strided) : t.out(type, shape, strided),
                                  alpha, accumulate};
                     },
                     {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("accumulate, ragged", {37, 1031}, 1, true), c("scaled copy", {3, 7}, 0.3, false),
          c("flat", {70001}, -2, true), c("add 16 M", {16 << 20}, 1, true, true)};
}

/// The values that dropout leaves of a matrix of ones: 1/(1-p) or 0.
std::vector<float> mask_of(DropoutSite const& site, std::vector<std::int64_t> samples,
                           std::vector<std::int32_t> positions, std::int64_t features, std::int64_t first_feature = 0) {
  auto const tokens = static_cast<std::int64_t>(samples.size());
  std::vector<float> x(static_cast<std::size_t>(tokens * features), 1.0f), y(x.size());
  run(DropoutAdd{.x = Tensor::of(x.data(), {tokens, features}),
                 .residual = {},
                 .y = Tensor::of(y.data(), {tokens, features}),
                 .bias = {},
                 .site = site,
                 .tokens = {Tensor::of(samples.data(), {tokens}), Tensor::of(positions.data(), {tokens})},
                 .first_feature = first_feature});
  return y;
}

}  // namespace

BOOST_AUTO_TEST_CASE(forward) { check_all(forwards()); }
BOOST_AUTO_TEST_CASE(backward) { check_all(backwards()); }
BOOST_AUTO_TEST_CASE(add) { check_all(adds()); }
SELENITE_SPEED_TEST(forwards)
SELENITE_SPEED_TEST(backwards)
SELENITE_SPEED_TEST(adds)

BOOST_AUTO_TEST_CASE(mask_is_the_definition) {  // word by word, from the scalar generator
  for (double const p : {0.1, 0.5, 0.999}) {
    DropoutSite const site{p, 0x123456789abcdefull, 17, 2};
    std::int64_t const sample = 0xab12345678ll, first = 6;
    std::vector<float> const mask = mask_of(site, {sample}, {4095}, 2000, first);
    for (std::int64_t i = 0; i < 2000; ++i) {
      auto const feature = static_cast<std::uint64_t>(first + i);
      Words4 const words = philox(
          pack_counter(Purpose::hidden_dropout, 17, 2, 0xab12345678ull, hidden_detail(4095, feature / 4)), site.seed);
      bool const kept = words[feature % 4] >= dropout_threshold(p);
      BOOST_REQUIRE_EQUAL(mask[static_cast<std::size_t>(i)], kept ? static_cast<float>(1 / (1 - p)) : 0.0f);
    }
  }
}

BOOST_AUTO_TEST_CASE(kept_fraction) {  // within four standard deviations of a binomial
  for (double const p : {0.1, 0.25, 0.5, 0.9}) {
    std::vector<std::int64_t> samples(200);
    std::vector<std::int32_t> positions(200);
    for (std::size_t t = 0; t < 200; ++t)
      samples[t] = static_cast<std::int64_t>(t / 50), positions[t] = static_cast<std::int32_t>(t % 50);
    std::vector<float> const mask = mask_of({p, 1, 2, 3}, samples, positions, 1000);
    double const n = 200000,
                 kept = static_cast<double>(std::count_if(mask.begin(), mask.end(), [](float v) { return v != 0; }));
    BOOST_TEST(std::abs(kept - n * (1 - p)) < 4 * std::sqrt(n * p * (1 - p)));
  }
}

BOOST_AUTO_TEST_CASE(mask_belongs_to_the_token) {  // however tokens and columns are shared out
  DropoutSite const site{0.4, 9, 3, 1};
  std::vector<float> const whole = mask_of(site, {4, 4, 5, 6}, {0, 1, 0, 7}, 100);
  std::vector<float> const other = mask_of(site, {6, 5, 4}, {7, 0, 1}, 100);
  for (std::size_t i = 0; i < 100; ++i) {
    BOOST_REQUIRE_EQUAL(whole[300 + i], other[i]);
    BOOST_REQUIRE_EQUAL(whole[200 + i], other[100 + i]);
    BOOST_REQUIRE_EQUAL(whole[100 + i], other[200 + i]);
  }
  for (std::int64_t const first :
       {0, 25, 50, 75}) {  // four shards of the hidden dimension, three of them inside a quad
    std::vector<float> const shard = mask_of(site, {4, 4, 5, 6}, {0, 1, 0, 7}, 25, first);
    for (std::size_t t = 0; t < 4; ++t)
      for (std::size_t i = 0; i < 25; ++i)
        BOOST_REQUIRE_EQUAL(shard[25 * t + i], whole[100 * t + static_cast<std::size_t>(first) + i]);
  }
}

BOOST_AUTO_TEST_CASE(every_site_draws_its_own) {
  std::set<std::vector<float>> masks;
  for (std::uint64_t const seed : {1, 2})
    for (std::uint32_t const layer : {0u, 1u})
      for (std::uint32_t const site : {0u, 1u})
        for (std::int64_t const sample : {0ll, 1ll, 1ll << 33})
          for (std::int32_t const position : {0, 1})
            masks.insert(mask_of({0.5, seed, layer, site}, {sample}, {position}, 64));
  BOOST_TEST(masks.size() == 2u * 2 * 2 * 3 * 2);
}

BOOST_AUTO_TEST_CASE(gradient_is_the_mask) {
  Tensors t(Tensors::doubles);
  DropoutAdd const f = make_forward(t, DType::fp64, {4, 9, 2, 0.3}, false, false);
  DropoutBackward const b{.dy = t.in(DType::fp64, {4, 9}),
                          .dx = t.out(DType::fp64, {4, 9}),
                          .site = f.site,
                          .tokens = f.tokens,
                          .first_feature = 2};
  check_gradient([&] { reference(f); }, [&] { reference(b); }, {{f.y, b.dy}}, {{f.x, b.dx}});
}

BOOST_AUTO_TEST_CASE(in_place) {
  for (bool const over_residual : {true, false}) {
    Tensors apart(Tensors::rounded), together(Tensors::rounded);
    DropoutAdd const a = make_forward(apart, DType::bf16, {20, 777, 0, 0.2}, true, true);
    DropoutAdd b = make_forward(together, DType::bf16, {20, 777, 0, 0.2}, true, true);
    b.y = over_residual ? b.residual : b.x;
    run(a);
    run(b);
    for (std::int64_t i = 0; i < a.y.count(); ++i) BOOST_REQUIRE_EQUAL(load(a.y, i), load(b.y, i));
  }
}
