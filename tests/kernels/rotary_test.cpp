#define BOOST_TEST_MODULE rotary
#include "kernels/rotary/rotary.hpp"

#include <cmath>

#include "any_team.hpp"
#include "core/element.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

std::vector<Case<Rotary>> cases() {
  auto c = [](std::string name, std::int64_t tokens, std::int64_t heads, std::int64_t head_dim, std::int64_t positions,
              bool inverse, bool speed = false) {
    return Case<Rotary>{name,
                        [=](Tensors& t, DType type) {
                          return Rotary{.x = t.inout(type, {tokens, heads * head_dim}, {}, strided),
                                        .positions = t.integers(DType::int32, {tokens}, 0, positions),
                                        .head_dim = head_dim,
                                        .base = 10000,
                                        .inverse = inverse};
                        },
                        {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("one pair", 3, 1, 2, 10, false),
          c("ragged heads", 77, 3, 22, 1000, false),
          c("inverse", 40, 5, 64, 1000, true),
          c("a million positions", 200, 2, 128, 1000000, false),
          c("head wider than a chunk", 5, 2, 600, 4096, false),
          c("rotary, heads of 64", Backend::speed_tokens, Backend::speed_hidden / 64, 64, 4096, false, true),
          c("rotary, heads of 128", Backend::speed_tokens, Backend::speed_hidden / 128, 128, 4096, false, true)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(all) { check_all(cases()); }
SELENITE_SPEED_TEST(cases)

BOOST_AUTO_TEST_CASE(
    reference_by_hand) {  // a quarter turn of pair 0 at base 1: (a, b) -> (a cos p - b sin p, b cos p + a sin p)
  double x[] = {3, 4};
  std::int32_t position[] = {2};
  reference(Rotary{.x = Tensor::of(x, {1, 2}),
                   .positions = Tensor::of(position, {1}),
                   .head_dim = 2,
                   .base = 10000,
                   .inverse = false});
  BOOST_TEST(x[0] == 3 * std::cos(2.0) - 4 * std::sin(2.0), boost::test_tools::tolerance(1e-15));
  BOOST_TEST(x[1] == 4 * std::cos(2.0) + 3 * std::sin(2.0), boost::test_tools::tolerance(1e-15));
}

BOOST_AUTO_TEST_CASE(inverse_is_the_gradient) {  // a turn is orthogonal: its transpose is its inverse
  Tensors t(Tensors::doubles);
  Tensor const x = t.in(DType::fp64, {3, 8}), y = t.out(DType::fp64, {3, 8}), dy = t.in(DType::fp64, {3, 8}),
               dx = t.out(DType::fp64, {3, 8});
  Tensor const positions = t.integers(DType::int32, {3}, 0, 100);
  auto turn = [&](Tensor const& from, Tensor const& to, bool inverse) {
    for (std::int64_t i = 0; i < from.count(); ++i) store(to, i, load(from, i));
    reference(Rotary{.x = to, .positions = positions, .head_dim = 4, .base = 10000, .inverse = inverse});
  };
  check_gradient([&] { turn(x, y, false); }, [&] { turn(dy, dx, true); }, {{y, dy}}, {{x, dx}});
}

BOOST_AUTO_TEST_CASE(scores_depend_on_distance_alone) {
  auto score = [](std::int32_t query, std::int32_t key) {
    std::vector<float> x(2 * 64);
    for (std::size_t i = 0; i < 64; ++i)
      x[i] = std::sin(static_cast<float>(i)), x[64 + i] = std::cos(3 * static_cast<float>(i));
    std::vector<std::int32_t> positions{query, key};
    run(Rotary{.x = Tensor::of(x.data(), {2, 64}),
               .positions = Tensor::of(positions.data(), {2}),
               .head_dim = 64,
               .base = 10000,
               .inverse = false});
    double sum = 0;
    for (std::size_t i = 0; i < 64; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[64 + i]);
    return sum;
  };
  BOOST_TEST(std::abs(score(7, 3) - score(1000007, 1000003)) < 1e-5);
  BOOST_TEST(std::abs(score(7, 3) - score(8, 3)) > 1e-2);
}
