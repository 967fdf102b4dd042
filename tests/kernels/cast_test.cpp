#define BOOST_TEST_MODULE cast
#include "kernels/cast/cast.hpp"

#include <cmath>

#include "any_team.hpp"
#include "core/element.hpp"
#include "core/rng.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

std::vector<Case<Cast>> casts() {
  std::vector<Case<Cast>> all;
  for (DType const to : {DType::fp64, DType::fp32, DType::bf16, DType::fp16}) {
    all.push_back({concat("ragged to ", name(to)),
                   [=](Tensors& t, DType from) {
                     return Cast{t.in(from, {37, 1031}, Uniform{-70, 70}, strided), t.out(to, {37, 1031}, strided)};
                   },
                   {.dtypes = {DType::fp64, DType::fp32, DType::bf16, DType::fp16}}});
    all.push_back({concat("flat to ", name(to)), [=](Tensors& t, DType from) {
                     return Cast{t.in(from, {70001}), t.out(to, {70001})};
                   }});
    if (to == DType::fp32 || to == DType::bf16)
      all.push_back({concat("cast 64 M to ", name(to)),
                     [=](Tensors& t, DType from) {
                       return Cast{t.in(from, {64 << 20}), t.out(to, {64 << 20})};
                     },
                     {.speed = true, .dtypes = dtypes(true)}});
  }
  for (DType const whole : {DType::int64, DType::int32, DType::uint16, DType::uint8})
    all.push_back({concat("copy of ", name(whole)),
                   [=](Tensors& t, DType) {
                     return Cast{t.integers(whole, {33, 70}, 0, 200), t.out(whole, {33, 70}, strided)};
                   },
                   {.dtypes = {DType::fp32}}});
  return all;
}

std::vector<Case<Fill>> fills() {
  return {{"ragged",
           [](Tensors& t, DType type) {
             return Fill{t.out(type, {37, 1031}, strided), -1.5};
           },
           {.dtypes = {DType::fp64, DType::fp32, DType::bf16, DType::fp16}}},
          {"whole numbers",
           [](Tensors& t, DType type) {
             return Fill{t.out(type, {3, 40001}, strided), 7};
           },
           {.dtypes = {DType::int64, DType::int32, DType::uint16, DType::uint8}}},
          {"fill 64 M",
           [](Tensors& t, DType type) {
             return Fill{t.out(type, {64 << 20}), 0};
           },
           {.speed = true, .dtypes = dtypes(true)}}};
}

std::vector<Case<InitNormal>> inits() {
  auto c = [](std::string name, Shape shape, std::int64_t row0, std::int64_t col0, std::int64_t logical_cols,
              bool speed = false) {
    return Case<InitNormal>{name,
                            [=](Tensors& t, DType type) {
                              return InitNormal{t.out(type, shape, speed ? packed : strided),
                                                42,
                                                name_hash("layers.3.attention.out"),
                                                row0,
                                                col0,
                                                logical_cols,
                                                0.02};
                            },
                            {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("whole", {37, 1031}, 0, 0, 1031),
          c("whole 16-byte packs", {9, 136}, 2, 0, 136),
          c("whole packs, half a quad in", {9, 136}, 2, 6, 142),
          c("rows and columns of a shard", {37, 517}, 100, 259, 1031),
          c("far beyond 32 bits", {5, 70}, 1ll << 30, 1, 50001),
          c("init 124 M", {121094, 1024}, 0, 0, 1024, true)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(cast) { check_all(casts()); }
BOOST_AUTO_TEST_CASE(fill) { check_all(fills()); }
BOOST_AUTO_TEST_CASE(init) { check_all(inits()); }
SELENITE_SPEED_TEST(casts)
SELENITE_SPEED_TEST(fills)
SELENITE_SPEED_TEST(inits)

// Against the scalar types of core/dtype: all that 16 bits can hold, and floats around every rounding boundary.
BOOST_AUTO_TEST_CASE(bits_are_those_of_the_scalar_types) {
  std::vector<float> x;
  for (std::uint32_t i = 0; i < 65536; ++i)
    for (std::uint32_t const low : {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      x.push_back(std::bit_cast<float>(i << 16 | low));
  auto const n = static_cast<std::int64_t>(x.size());
  std::vector<bf16> b(x.size());
  std::vector<fp16> h(x.size());
  run(Cast{Tensor::of(x.data(), {n}), Tensor::of(b.data(), {n})});
  run(Cast{Tensor::of(x.data(), {n}), Tensor::of(h.data(), {n})});
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      BOOST_REQUIRE(std::isnan(static_cast<float>(h[i])) && std::isnan(static_cast<float>(b[i])));
    } else {
      BOOST_REQUIRE_EQUAL(b[i].bits, bf16(x[i]).bits);
      BOOST_REQUIRE_EQUAL(h[i].bits, fp16(x[i]).bits);
    }
  }
}

BOOST_AUTO_TEST_CASE(init_is_the_definition_bit_by_bit) {
  std::vector<float> x(1003);
  run(InitNormal{Tensor::of(x.data(), {17, 59}), 5, 77, 3, 2, 1000, 0.5});
  for (std::int64_t r = 0; r < 17; ++r)
    for (std::int64_t c = 0; c < 59; ++c) {
      auto const element = static_cast<std::uint64_t>((3 + r) * 1000 + 2 + c);
      float const expected = static_cast<float>(normal_from_word(init_words(5, 77, element / 4)[element % 4])) * 0.5f;
      BOOST_REQUIRE_EQUAL(x[static_cast<std::size_t>(59 * r + c)], expected);
    }
}

BOOST_AUTO_TEST_CASE(int64_copies_keep_every_bit) {
  std::vector<std::int64_t> x{INT64_MAX, INT64_MIN, 1ll << 53 | 1}, y(3);
  run(Cast{Tensor::of(x.data(), {3}), Tensor::of(y.data(), {3})});
  BOOST_TEST(x == y, boost::test_tools::per_element());
}
