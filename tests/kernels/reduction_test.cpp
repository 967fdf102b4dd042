#define BOOST_TEST_MODULE reduction
#include "kernels/reduction/reduction.hpp"

#include "any_team.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

std::vector<Case<SquaredNorm>> cases() {
  auto c = [](std::string name, std::int64_t n, bool accumulate, bool speed = false) {
    return Case<SquaredNorm>{name,
                             [=](Tensors& t, DType type) {
                               return SquaredNorm{t.in(type, {n}),
                                                  accumulate ? t.inout(DType::fp64, {1}) : t.out(DType::fp64, {1}),
                                                  accumulate};
                             },
                             {.speed = speed, .dtypes = dtypes(speed)}};
  };
  return {c("nothing", 0, true), c("one", 1, false), c("ragged", 1003, true), c("pieces", 300007, false),
          c("squared norm 64 M", 64 << 20, false, true)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(all) { check_all(cases()); }
SELENITE_SPEED_TEST(cases)

BOOST_AUTO_TEST_CASE(large_and_small_together) {  // what a sum in fp32 would lose
  std::vector<float> x(100001, 1e-3f);
  x[50000] = 1e6f;
  std::vector<double> out(1);
  run(SquaredNorm{Tensor::of(x.data(), {100001}), Tensor::of(out.data(), {1}), false});
  double const small = static_cast<double>(1e-3f) * static_cast<double>(1e-3f);
  BOOST_TEST(out[0] == 1e12 + 100000 * small, boost::test_tools::tolerance(1e-15));
}
