// selenite-sweep predict and search, as a user calls them.
#include <nlohmann/json.hpp>
#include <set>

#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace fs = std::filesystem;

namespace {

void write_machine(std::string const& name, std::int64_t memory) {
  std::string text = concat(
      "name = \"small\"\nsource = \"none\"\nmemory_bytes = ", memory,
      "\npeak_fp32 = 1e12\npeak_bf16 = 2e12\npeak_fp16 = 2e12\npeak_fp8 = 0\ndraw_rate = 0\nlaunch_seconds = 1e-6\n"
      "link_bandwidth = 1e9\nlink_latency = 1e-6\n");
  for (char const* curve : {"gemm_fp32", "gemm_bf16", "attention_fp32", "attention_bf16"})
    text += concat("[", curve, "]\nsizes = [1e6, 1e9]\nrates = [1e11, 1e12]\n");
  write_file(name, text + "[stream]\nsizes = [1e3, 1e6]\nrates = [1e9, 1e10]\n");
}

std::vector<std::string> const model{"gpt-tiny", "--machine", "./m.toml", "--set", "train.global_batch=16"};
std::vector<std::string> with(std::string const& command, std::vector<std::string> const& more) {
  std::vector<std::string> all{command};
  all.insert(all.end(), model.begin(), model.end());
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(predict)

BOOST_AUTO_TEST_CASE(json_holds_time_rates_causes_and_memory) {
  Desk const desk;
  write_machine("m.toml", 0);
  auto const command = with("predict", {"--gpus", "8", "--set", "layout.tensor=2", "--set", "layout.pipe=2", "--json"});
  auto const json = nlohmann::json::parse(desk.succeeds("sweep", command));
  for (char const* key :
       {"iteration_seconds", "tokens_per_second", "model_tflops_per_gpu", "hardware_tflops_per_gpu", "mfu", "hfu"})
    BOOST_TEST(json.at(key).get<double>() > 0, key);
  BOOST_TEST(json.at("gpus") == 8);
  BOOST_TEST(json.at("fits") == true);
  BOOST_TEST(json.at("flops_convention").get<std::string>().find("attention counted whole") != std::string::npos);
  double const iteration = json.at("iteration_seconds");
  double sum = 0;
  for (auto const& [cause, seconds] : json.at("exposed_seconds").items()) sum += seconds.get<double>();
  BOOST_TEST(sum == iteration, boost::test_tools::tolerance(1e-9));
  for (char const* cause :
       {"gemm", "attention", "memory_bound", "recompute", "optimizer", "bubble", "communication_tensor",
        "communication_context", "communication_data", "communication_pipe"})
    BOOST_TEST(json.at("exposed_seconds").contains(cause), cause);
  std::int64_t bytes = 0;
  for (auto const& [label, size] : json.at("memory_bytes").items()) bytes += size.get<std::int64_t>();
  BOOST_TEST(json.at("memory_total_bytes") == bytes);
  BOOST_TEST(json.at("tokens_per_second").get<double>() == 16 * 256 / iteration, boost::test_tools::tolerance(1e-9));
  BOOST_TEST(json.at("mfu").get<double>() == json.at("model_tflops_per_gpu").get<double>() / 2,
             boost::test_tools::tolerance(1e-9));
  // a file that --print-config has written says the same
  std::vector<std::string> const print{"--world",
                                       "8",
                                       "--print-config",
                                       "--set",
                                       "model.preset=gpt-tiny",
                                       "--set",
                                       "train.global_batch=16",
                                       "--set",
                                       "layout.tensor=2",
                                       "--set",
                                       "layout.pipe=2"};
  write_file("run.toml", desk.succeeds("pretrain", print));
  auto const again =
      nlohmann::json::parse(desk.succeeds("sweep", {"predict", "run.toml", "--machine", "m.toml", "--json"}));
  BOOST_TEST(again.at("iteration_seconds") == json.at("iteration_seconds"));
}

BOOST_AUTO_TEST_CASE(text_and_trace_are_for_people) {
  Desk const desk;
  write_machine("m.toml", 1000000);
  std::string const text =
      desk.succeeds("sweep", with("predict", {"--gpus", "4", "--set", "layout.pipe=4", "--trace", "trace.json"}));
  for (char const* part : {"small: ", "4 ranks = pipe 4", "iteration", "MFU", "HFU", "gemm", "bubble",
                           "communication_pipe", "memory of stage ", "It does not fit", "attention counted whole"})
    BOOST_TEST(contains(text, part), part << " is not in\n" << text);
  auto const trace = nlohmann::json::parse(read_file("trace.json"));
  std::set<std::int64_t> stages;
  for (auto const& event : trace.at("traceEvents"))
    if (event.at("ph") == "X") stages.insert(event.at("tid").get<std::int64_t>());
  BOOST_TEST(stages.size() == 4u);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_predicted_is_said) {
  Desk const desk;
  write_machine("m.toml", 0);
  desk.fails("sweep", {"predict", "gpt-tiny", "--machine", "no-such-machine"}, {"There is no machine"});
  desk.fails("sweep", {"predict", "gpt-tiny"}, {"needs a machine"});
  desk.fails("sweep", {"predict", "gpt-tinny", "--machine", "./m.toml"}, {"Did you mean \"gpt-tiny\"?"});
  desk.fails("sweep", {"predict", "none.toml", "--machine", "./m.toml"}, {"none.toml"});
  desk.fails("sweep", with("predict", {"--set", "layout.tensor=3"}),
             {"layout.tensor = 3 does not divide", "Use 2 or 4."});
  desk.fails("sweep", with("predict", {"--gpus", "3"}), {"global_batch"});
  // as one rank measures it: nothing is known of links
  std::string const linked = read_file("m.toml");
  write_file("m.toml", std::regex_replace(linked, std::regex("link_([a-z]+) = [^\n]*"), "link_$1 = 0"));
  BOOST_TEST(contains(desk.succeeds("sweep", with("predict", {"--gpus", "1"})), "iteration"));
  for (std::string const command : {"predict", "search"})
    desk.fails("sweep", with(command, {"--gpus", "8"}), {"no figures for messages between 8 ranks", "calibrate"});
  std::string const cluster =
      "[cluster]\nranks_per_node = 4\nnetwork_bandwidth = 0\nnetwork_latency = 0\n"
      "collective_seconds = 0\noverlap_cost = 0\ndevice_spread = 0\n";
  write_file("m.toml", linked + cluster);
  desk.fails("sweep", with("predict", {"--gpus", "8"}), {"network_bandwidth"});
  write_file("m.toml", std::regex_replace(linked, std::regex("peak_bf16 = [^\n]*"), "peak_bf16 = 0"));
  desk.fails("sweep", with("predict", {}), {"peak_bf16 = 0"});
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(validate_)

BOOST_AUTO_TEST_CASE(json_is_one_array_of_sets) {
  Desk const desk;
  for (std::vector<std::string> const& sets :
       {std::vector<std::string>{"korthikanti-table4"}, {"korthikanti-table4", "h100-layers"}}) {
    std::vector<std::string> command{"validate", "--json"};
    for (std::string const& set : sets) command.insert(command.end(), {"--set", set});
    auto const json = nlohmann::json::parse(desk.succeeds("sweep", command));
    BOOST_TEST_REQUIRE(json.size() == sets.size());
    for (std::size_t i = 0; i < sets.size(); ++i) BOOST_TEST(json.at(i).at("set") == sets[i]);
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(search)

BOOST_AUTO_TEST_CASE(a_search_prints_and_writes_what_it_found) {
  Desk const desk;
  write_machine("m.toml", 100000000);
  std::string const text = desk.succeeds(
      "sweep", with("search", {"--gpus", "8", "--folder", "found", "--set", "layout.context=1", "--threads", "2"}));
  for (char const* part : {"candidates", "predicted", "infeasible: ", "The fastest on small, 8 ranks, batch 16"})
    BOOST_TEST(contains(text, part), part << " is not in\n" << text);
  for (char const* file : {"run.toml", "best.csv", "front.csv"}) BOOST_TEST(fs::exists(fs::path("found") / file), file);
  // the winner is what it was predicted as, and a run takes it
  auto const json = nlohmann::json::parse(desk.succeeds("sweep", {"predict", "found/run.toml", "--json"}));
  auto const row = split(split(read_file("found/best.csv"), '\n').at(1), ',');
  BOOST_TEST(std::abs(json.at("iteration_seconds").get<double>() - std::stod(row.at(9))) < 1e-4);
  std::string const plan = desk.succeeds("pretrain", {"found/run.toml", "--dry-run", "--world", "8"});
  BOOST_TEST(contains(plan, "Layout: 8 ranks"), plan);
}

BOOST_AUTO_TEST_CASE(a_search_where_nothing_fits_says_so) {
  Desk const desk;
  write_machine("m.toml", 1000);
  Outcome const o = desk.run("sweep", with("search", {"--gpus", "4", "--set", "layout.context=1"}));
  BOOST_TEST(o.code == 3);
  BOOST_TEST(contains(o.out, "Nothing fits."), o.out);
  desk.fails("sweep", with("search", {"--gpus", "0"}), {"--gpus"});
}

BOOST_AUTO_TEST_SUITE_END()
