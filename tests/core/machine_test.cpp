#include "core/machine.hpp"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "core/error.hpp"

using namespace selenite;

namespace {

std::string const good = to_toml(Machine{.name = "m",
                                         .source = "a test",
                                         .memory_bytes = 5,
                                         .peak_fp32 = 1e12,
                                         .peak_bf16 = 2e12,
                                         .launch_seconds = 1e-6,
                                         .gemm_fp32 = {{1e3, 1e6}, {1e9, 1e11}},
                                         .gemm_bf16 = {{1}, {2}},
                                         .attention_fp32 = {{1}, {3}},
                                         .attention_bf16 = {{1}, {4}},
                                         .stream = {{1}, {5}}});

Machine load(std::string const& text) {
  auto const path = std::filesystem::temp_directory_path() / ("selenite-machine-" + std::to_string(getpid()) + ".toml");
  std::ofstream(path) << text;
  struct Remove {
    std::filesystem::path path;
    ~Remove() { std::filesystem::remove(path); }
  } const remove{path};
  return load_machine(path.string());
}
std::string replaced(std::string text, std::string const& from, std::string const& to) {
  auto const at = text.find(from);
  BOOST_REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}
std::string refusal(std::string const& text) {
  try {
    load(text);
  } catch (Error const& e) {
    return e.what();
  }
  return "";
}
bool contains(std::string const& text, std::string const& part) { return text.find(part) != std::string::npos; }

}  // namespace

BOOST_AUTO_TEST_SUITE(machine)

BOOST_AUTO_TEST_CASE(a_machine_file_reads_back) {
  Machine const m = load(good);
  BOOST_TEST(m.name == "m");
  BOOST_TEST(m.memory_bytes == 5);
  BOOST_TEST(m.peak_bf16 == 2e12);
  BOOST_TEST(m.gemm_fp32.rates[1] == 1e11);
  BOOST_TEST(m.launch_seconds == 1e-6);
  BOOST_TEST(to_toml(m) == good);
  BOOST_TEST(m.peak(DType::fp32) == 1e12);
  BOOST_TEST(m.peak(DType::fp16) == 2e12);  // none of its own: bf16's
}

BOOST_AUTO_TEST_CASE(rates_are_straight_on_log_scales) {
  RateCurve const curve{{1e3, 1e5, 1e6}, {10, 1000, 2000}};
  BOOST_TEST(curve.at(1) == 10);
  BOOST_TEST(curve.at(1e9) == 2000);
  BOOST_TEST(std::abs(curve.at(1e4) / 100 - 1) < 1e-12);
  BOOST_TEST(std::abs(curve.at(1e5) / 1000 - 1) < 1e-12);
}

BOOST_AUTO_TEST_CASE(what_is_wrong_is_named) {
  BOOST_TEST(contains(refusal(replaced(good, "peak_bf16", "peek_bf16")), "peak_bf16 is missing"));
  BOOST_TEST(contains(refusal(replaced(good, "peak_fp32 = 1e+12", "peak_fp32 = -1.0")),
                      "peak_fp32 = -1 is not a possible figure"));
  BOOST_TEST(
      contains(refusal(replaced(good, "peak_fp32 = 1e+12", "peak_fp32 = \"fast\"")), "peak_fp32 takes a number"));
  BOOST_TEST(contains(refusal(replaced(good, "[stream]", "[steam]")), "[stream] is missing"));
  BOOST_TEST(
      contains(refusal(replaced(good, "sizes = [1000.0, 1e+06]", "sizes = [1000.0]")), "as many rates as sizes"));
  BOOST_TEST(contains(refusal(replaced(good, "sizes = [1000.0, 1e+06]", "sizes = [1e6, 1e3]")), "sizes rising"));
  BOOST_TEST(contains(refusal(replaced(good, "sizes = [1000.0, 1e+06]", "sizes = []")), "gemm_fp32.sizes is missing"));
  BOOST_TEST(contains(refusal(replaced(good, "name = \"m\"", "name = 3")), "name takes a string"));
  BOOST_TEST(contains(refusal("x = = 1"), "line 1"));
  BOOST_CHECK_THROW(load_machine("no/such/machine.toml"), Error);
}

BOOST_AUTO_TEST_SUITE_END()
