#include "core/machine.hpp"

#include <boost/test/unit_test.hpp>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "core/error.hpp"
#include "core/text.hpp"
#include "tests/contains.hpp"

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

/// A cluster of processors given by physical figures.
std::string const physical = to_toml(Machine{
    .name = "p",
    .source = "a test",
    .peak_fp32 = 1e12,
    .peak_bf16 = 2e12,
    .cluster =
        {.ranks_per_node = 4, .network_bandwidth = 5, .network_latency = 6, .overlap_cost = 0.1, .device_spread = 0.2},
    .program = {.logit_forward_bytes = 30, .logit_backward_bytes = 10, .gradient_bytes = 3},
    .processor = Processor{.multiprocessors = 7,
                           .gemm_efficiency = 0.8,
                           .memory_bandwidth = 9,
                           .memory_efficiency = 0.7,
                           .stream_efficiency = 0.6,
                           .attention_forward = {1, 2, {{64, 128}, {3, 4}}},
                           .attention_backward = {5, 6, {{64}, {7}}}}});

/// A machine file beside the others of this test, which goes with it.
class File {
 public:
  File(std::string const& name, std::string const& text) : name_(concat("selenite-machine-", getpid(), "-", name)) {
    std::ofstream(path()) << text;
  }
  ~File() { std::filesystem::remove(path()); }
  File(File const&) = delete;
  File& operator=(File const&) = delete;
  std::string const& name() const { return name_; }
  std::string path() const { return (std::filesystem::temp_directory_path() / (name_ + ".toml")).string(); }

 private:
  std::string name_;
};

Machine load(std::string const& text) { return load_machine(File("loaded", text).path()); }
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
  BOOST_TEST(m.all_reduce.empty());  // of one rank
  Machine linked = m;
  linked.all_reduce = {{1}, {6}}, linked.all_gather = {{1}, {7}}, linked.ring_shift = {{1, 2}, {8, 9}};
  BOOST_TEST(to_toml(load(to_toml(linked))) == to_toml(linked));
  BOOST_TEST(load(to_toml(linked)).ring_shift.rates[1] == 9);
  linked.all_gather = {};
  BOOST_TEST(contains(refusal(to_toml(linked)), "has some of [all_reduce]"));
  BOOST_TEST(m.peak(DType::fp32) == 1e12);
  BOOST_TEST(m.peak(DType::fp16) == 2e12);  // none of its own: bf16's
  BOOST_TEST(m.peak(DType::e4m3) == 2e12);
  BOOST_TEST(load(replaced(good, "peak_fp8 = 0.0", "peak_fp8 = 4e12")).peak(DType::e5m2) == 4e12);
}

BOOST_AUTO_TEST_CASE(physical_figures_read_back) {
  Machine const m = load(physical);
  BOOST_TEST_REQUIRE(m.processor.has_value());
  BOOST_TEST(m.processor->multiprocessors == 7);
  BOOST_TEST(m.processor->attention_forward.rates.at(128) == 4);
  BOOST_TEST(m.processor->attention_backward.ramp == 6);
  BOOST_TEST(m.cluster.ranks_per_node == 4);
  BOOST_TEST(m.cluster.overlap_cost == 0.1);
  BOOST_TEST(m.cluster.device_spread == 0.2);
  BOOST_TEST(m.program.logit_backward_bytes == 10);
  BOOST_TEST(to_toml(m) == physical);
  BOOST_TEST(load(good).cluster.ranks_per_node == 0);
}

BOOST_AUTO_TEST_CASE(a_peak_of_nothing_is_refused) {
  for (char const* zero :
       {"peak_fp32 = 0", "peak_bf16 = 0.0", "peak_bf16 = -1", "peak_fp32 = nan", "peak_bf16 = inf"}) {
    std::string const key(zero, 9),
        text = refusal(replaced(good, key == "peak_fp32" ? "peak_fp32 = 1e+12" : "peak_bf16 = 2e+12", zero));
    BOOST_TEST(contains(text, key), zero << ": " << text);
    BOOST_TEST(contains(text, "is not a possible figure"), zero << ": " << text);
  }
}

BOOST_AUTO_TEST_CASE(every_machine_file_loads_and_reads_back) {
  int files = 0;
  for (auto const& entry : std::filesystem::directory_iterator(SELENITE_SOURCE "/scaling/machines")) {
    if (entry.path().extension() != ".toml") continue;
    ++files;
    Machine const m = load_machine(entry.path().string());
    BOOST_TEST_CONTEXT(entry.path()) {
      BOOST_TEST(!m.source.empty());
      BOOST_TEST(m.memory_bytes > 1e10);
      BOOST_TEST((m.processor && m.cluster.ranks_per_node > 0));
      BOOST_TEST(to_toml(load(to_toml(m))) == to_toml(m));
    }
  }
  BOOST_TEST(files >= 6);
}

BOOST_AUTO_TEST_CASE(a_machine_is_like_another_but_for_what_it_says) {
  File const base("other", physical);
  std::string const like = concat("like = \"", base.name(), "\"\n");
  Machine own = load("name = \"own\"\n" + like +
                     "[processor]\nstream_efficiency = 0.5\n[attention_backward]\nsizes = [32, 64]\nrates = [1, 2]\n");
  Machine const other = load_machine(base.path());
  BOOST_TEST(own.name == "own");
  BOOST_TEST(own.processor->stream_efficiency == 0.5);
  BOOST_TEST(own.processor->attention_backward.rates.sizes.size() == 2u);
  own.name = other.name;
  own.processor->stream_efficiency = other.processor->stream_efficiency;
  own.processor->attention_backward = other.processor->attention_backward;
  BOOST_TEST(to_toml(own) == physical);  // the rest

  BOOST_TEST(contains(refusal("like = \"nothing\"\n"), "there is no"));
  BOOST_TEST(contains(refusal("like = 3\n"), "like takes a string"));
  BOOST_TEST(contains(refusal(like + "[processor]\ngemm_rump = 3\n"), "Did you mean gemm_ramp"));
  File const second("second", like);
  BOOST_TEST(contains(refusal(concat("like = \"", second.name(), "\"\n")), "one step is allowed"));
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
  BOOST_TEST(
      contains(refusal(replaced(good, "sizes = [1000.0, 1e+06]", "sizes = []")), "[gemm_fp32] sizes is missing"));
  BOOST_TEST(contains(refusal(replaced(good, "name = \"m\"", "name = 3")), "name takes a string"));
  BOOST_TEST(contains(refusal(good + "[cluster]\nranks_per_node = 8\n"), "[cluster] network_bandwidth is missing"));
  BOOST_TEST(contains(refusal(replaced(physical, "ranks_per_node = 4", "ranks_per_node = 4.5")), "is no whole number"));
  BOOST_TEST(contains(refusal(replaced(physical, "overlap_cost = 0.1", "overlap_cost = 1.0")), "below 1"));
  BOOST_TEST(contains(refusal(replaced(physical, "gemm_efficiency = 0.8", "gemm_efficiency = -0.8")),
                      "gemm_efficiency = -0.8 is not a possible figure"));
  BOOST_TEST(
      contains(refusal(replaced(physical, "gemm_efficiency = 0.8", "gemm_efficiency = 0")), "nothing would ever"));
  BOOST_TEST(contains(refusal(replaced(physical, "wave_tail", "wave_tale")), "wave_tail is missing"));
  BOOST_TEST(contains(refusal(physical + "colour = 3\n"), "colour is not a figure of a machine"));
  BOOST_TEST(contains(refusal(replaced(physical, "[attention_backward]", "[attention_back]")),
                      "[attention_backward] is missing"));
  BOOST_TEST(contains(refusal("x = = 1"), "line 1"));
  BOOST_CHECK_THROW(load_machine("no/such/machine.toml"), Error);
}

BOOST_AUTO_TEST_SUITE_END()
