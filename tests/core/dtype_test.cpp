#include "core/dtype.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.hpp"

using namespace selenite;

namespace {

/// Lines of fixtures/fp8.txt, which says what they are.
struct Fp8Table {
  struct Rounded {
    float value = 0;
    std::string code[2];  ///< hexadecimal; "-": beyond the largest number
  };
  std::vector<double> values[2];
  std::vector<Rounded> rounded;

  Fp8Table() {
    std::ifstream file("tests/core/fixtures/fp8.txt");
    BOOST_REQUIRE_MESSAGE(file, "The test runs in the project's folder");
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string first, second, third;
      words >> first >> second >> third;
      if (values[0].size() < 256) {
        values[0].push_back(std::stod(second)), values[1].push_back(std::stod(third));
      } else {
        auto const bits = static_cast<std::uint32_t>(std::stoul(first, nullptr, 16));
        rounded.push_back({std::bit_cast<float>(bits), {second, third}});
      }
    }
  }
};

template <class T>
void check_format(Fp8Table const& table, int column) {
  BOOST_REQUIRE_EQUAL(table.values[column].size(), 256u);
  for (int code = 0; code < 256; ++code) {
    T x;
    x.bits = static_cast<std::uint8_t>(code);
    auto const got = static_cast<float>(x);
    double const want = table.values[column][static_cast<std::size_t>(code)];
    BOOST_TEST((std::isnan(want) ? std::isnan(got) : got == want && std::signbit(got) == std::signbit(want)),
               "code " << code << " is " << got << ", not " << want);
    // and back: NaNs become one, infinity the largest
    if (std::isfinite(want)) BOOST_TEST(int{T(got).bits} == code);
    if (std::isnan(want)) BOOST_TEST(T(got).bits == T::nan);
  }
  int compared = 0;
  for (auto const& [value, code] : table.rounded) {
    if (code[column] == "-") continue;
    BOOST_TEST(int{T(value).bits} == std::stoi(code[column], nullptr, 16), "rounding " << value);
    ++compared;
  }
  BOOST_TEST(compared > 1000);
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (float const large : {std::nextafter(T::largest, infinity), 2 * T::largest, 3e38f, infinity}) {
    BOOST_TEST(static_cast<float>(T(large)) == T::largest);
    BOOST_TEST(static_cast<float>(T(-large)) == -T::largest);
  }
  for (float const nan : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()})
    BOOST_TEST(T(nan).bits == T::nan);
  BOOST_TEST(int{T(-0.0f).bits} == 0x80);
  BOOST_TEST(int{T(1e-45f).bits} == 0);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(dtype)

BOOST_AUTO_TEST_CASE(every_code_of_the_8_bit_floats_and_every_boundary_between_them) {
  Fp8Table const table;
  check_format<e4m3>(table, 0);
  check_format<e5m2>(table, 1);
}

BOOST_AUTO_TEST_CASE(names_and_sizes) {
  for (DType const type : {DType::fp64, DType::fp32, DType::bf16, DType::fp16, DType::e4m3, DType::e5m2, DType::int64,
                           DType::int32, DType::uint16, DType::uint8})
    BOOST_TEST((parse_dtype(name(type)) == type));
  BOOST_TEST(size_of(DType::e4m3) == 1);
  BOOST_TEST(size_of(DType::e5m2) == 1);
  BOOST_CHECK_THROW(parse_dtype("fp8"), Error);
}

BOOST_AUTO_TEST_SUITE_END()
