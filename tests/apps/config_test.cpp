// A run's config as selenite-pretrain reads, prints and plans it.
#include <map>
#include <set>

#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

std::string const quickstart = SELENITE_SOURCE "/data/quickstart/pretrain.toml";

/// A machine file, so that nothing is measured.
std::string const machine =
    "name = \"test\"\nsource = \"made up\"\nmemory_bytes = 0\npeak_fp32 = 1e12\npeak_bf16 = 2e12\npeak_fp16 = "
    "2e12\npeak_fp8 = 0\ndraw_rate = 0\n"
    "launch_seconds = 0.0\nlink_bandwidth = 1e9\nlink_latency = 1e-6\n"
    "[gemm_fp32]\nsizes = [1e6]\nrates = [1e12]\n[gemm_bf16]\nsizes = [1e6]\nrates = [2e12]\n"
    "[attention_fp32]\nsizes = [1e6]\nrates = [5e11]\n[attention_bf16]\nsizes = [1e6]\nrates = [5e11]\n"
    "[stream]\nsizes = [1e6]\nrates = [1e11]\n";

/// The bytes after "Memory of a rank:", by label.
std::map<std::string, std::int64_t> memory_rows(std::string const& text) {
  std::map<std::string, std::int64_t> rows;
  std::regex const row("  ([a-z_]+) +[0-9.]+ [KMGT]?i?B  \\(([0-9]+) bytes\\)");
  std::size_t const from = text.find("Memory of a rank:\n");
  BOOST_TEST_REQUIRE(from != std::string::npos, text);
  for (std::string const& line : split(text.substr(from), '\n')) {
    std::smatch m;
    if (line == "A step:") break;
    if (!std::regex_match(line, m, row)) continue;
    BOOST_TEST(rows.emplace(m[1], std::stoll(m[2])).second, m[1].str() << " stands there twice");
  }
  return rows;
}

/// That a dry run may map: less than half of what the smallest GPT-2 takes to train. AddressSanitizer maps terabytes.
constexpr std::int64_t address_space = SELENITE_SANITIZED ? 0 : std::int64_t{1} << 30;

}  // namespace

BOOST_AUTO_TEST_SUITE(config)

BOOST_AUTO_TEST_CASE(ranks_that_are_threads_come_from_the_layout) {
  Desk const desk;
  std::vector<std::string> command{"--print-config"};
  for (char const* setting : {"run.comm=threads", "layout.tensor=2", "layout.pipe=3"})
    command.insert(command.end(), {"--set", setting});
  BOOST_TEST(contains(desk.succeeds("pretrain", command), "\ndata = 1"));  // nothing is left of six ranks
  command.insert(command.end(), {"--set", "layout.data=4", "--set", "train.global_batch=8"});
  BOOST_TEST(contains(desk.succeeds("pretrain", command), "\ndata = 4"));
  command.insert(command.end(), {"--world", "12"});
  desk.fails("pretrain", command, {"12"});
  desk.fails("pretrain", {"--set", "run.comm=threads", "--set", "layout.data=5000"}, {"5000 ranks", "threads"});
  desk.fails("pretrain", {"--set", "run.comm=nccl"}, {"run.comm = \"nccl\"", "device memory only"});
}

BOOST_AUTO_TEST_CASE(a_dry_run_tells_the_memory_of_the_fullest_stage) {
  Desk const desk;
  write_file("machine.toml", machine);
  std::string const text =
      desk.succeeds("pretrain", {"--dry-run", "--world", "2", "--set", "machine.name=machine.toml", "--set",
                                 "layout.pipe=2", "--set", "layout.stages=2,10", "--set", "train.global_batch=2"});
  BOOST_TEST(contains(text, "Memory of a rank of stage 1, which holds most:\n"), text);
  std::smatch total, fullest;  // the table of stages says the same
  BOOST_TEST_REQUIRE(std::regex_search(text, total, std::regex("\n  total +([0-9.]+ [KMGT]iB)")), text);
  BOOST_TEST_REQUIRE(std::regex_search(text, fullest, std::regex("\n *1 +10 [^\n]*")), text);
  BOOST_TEST(contains(fullest.str(), " " + total[1].str() + " "), text);
}

BOOST_AUTO_TEST_CASE(a_printed_config_reads_back_as_the_same) {
  Desk const desk;
  std::vector<std::vector<std::string>> const commands{
      {quickstart},
      {quickstart, "--set", "train.steps=0", "--set", "train.samples=800"},
      {"--set", "model.preset=gpt2-124m", "--set", "data.train=0.3,a,0.7,b"},
      {"--set", "model.preset=llama-tiny", "--world", "4", "--set", "model.norm_eps=1.1e-6"},
      {"--set", "model.preset=sc21-7.5b", "--world", "64", "--set", "train.global_batch=512"},
      {"--set", "run.folder=a \"folder\" with \\ and #, é", "--set", "train.lr=0.30000000000000004"}};
  std::set<std::string> different;
  for (auto command : commands) {
    command.emplace_back("--print-config");
    std::string const printed = desk.succeeds("pretrain", command);
    write_file("printed.toml", printed);
    std::vector<std::string> again{"printed.toml", "--print-config"};
    for (std::size_t i = 0; i + 1 < command.size(); ++i)
      if (command[i] == "--world") again.insert(again.end(), {"--world", command[i + 1]});
    BOOST_TEST(desk.succeeds("pretrain", again) == printed);
    different.insert(printed);
  }
  BOOST_TEST(different.size() == commands.size());
}

BOOST_AUTO_TEST_CASE(a_setting_overrides_the_file_and_shows) {
  Desk const desk;
  std::string const printed =
      desk.succeeds("pretrain", {quickstart, "--set", "model.hidden=640", "--set", "model.heads=10", "--print-config"});
  BOOST_TEST(contains(printed, "\nhidden = 640"));
  BOOST_TEST(contains(printed, "\nheads = 10\n"));
  BOOST_TEST(contains(printed, "\nlayers = 6\n"));
  BOOST_TEST(contains(printed, "\nhead_dim = 64"));  // hidden / heads
}

BOOST_AUTO_TEST_CASE(a_dry_run_tells_memory_that_sums_and_takes_none) {
  Desk const desk;
  write_file("machine.toml", machine);
  struct Job {
    std::vector<std::string> command;
    double parameters;  // millions, by the sum over a GPT's layers: 12 l h^2 + 13 l h + (v + s) h + 2 h
  };
  auto const gpt = [](double l, double h, double v, double s) {
    return (12 * l * h * h + 13 * l * h + (v + s) * h + 2 * h) / 1e6;
  };
  for (auto const& [command, parameters] :
       {Job{{quickstart}, gpt(6, 320, 8192, 256)}, Job{{"--set", "model.preset=gpt2-124m"}, gpt(12, 768, 50304, 1024)},
        Job{{"--set", "model.preset=sc21-145.6b"}, gpt(80, 12288, 51200, 2048)},
        Job{{"--set", "model.preset=sc21-1.7b", "--world", "32", "--set", "train.global_batch=512"},
            gpt(24, 2304, 51200, 2048)}}) {
    std::vector<std::string> all{"--dry-run", "--set", "machine.name=machine.toml", "--set", "train.precision=bf16"};
    all.insert(all.end(), command.begin(), command.end());
    Outcome const o = desk.run("pretrain", all, address_space);
    BOOST_TEST_REQUIRE(o.code == 0, o.errors);
    BOOST_TEST(o.errors == "");
    auto rows = memory_rows(o.out);
    std::int64_t const total = rows["total"];
    std::int64_t sum = -2 * total;  // it is one of the rows
    for (auto const& [label, bytes] : rows) sum += bytes;
    BOOST_TEST(sum == 0);
    // bf16 weights and fp32 master copy and moments; rows are aligned, which adds a little
    BOOST_TEST(static_cast<double>(rows["weights"]) / 2e6 == parameters, boost::test_tools::tolerance(1e-3));
    BOOST_TEST(static_cast<double>(rows["master"]) / 4e6 == parameters, boost::test_tools::tolerance(1e-3));
    BOOST_TEST(static_cast<double>(rows["moments"]) / 8e6 == parameters, boost::test_tools::tolerance(1e-3));
    BOOST_TEST(total > 14e6 * parameters);
    std::smatch mfu;
    BOOST_TEST_REQUIRE(std::regex_search(o.out, mfu, std::regex("\n  MFU +([0-9.]+) % of 2\\.00 T")), o.out);
    BOOST_TEST((std::stod(mfu[1]) > 10 && std::stod(mfu[1]) <= 100), o.out);
    BOOST_TEST(!std::filesystem::exists("run"));
    BOOST_TEST(!std::filesystem::exists("quickstart"));
  }
}

BOOST_AUTO_TEST_CASE(this_machine_is_measured_for_one_run_or_for_many) {
  Desk const desk;
  std::string const text = desk.succeeds("pretrain", {quickstart, "--dry-run"});
  BOOST_TEST(contains(text, "this machine, measured at start"), text);
  std::string const measured = desk.succeeds("sweep", {"calibrate", "here.toml"});
  BOOST_TEST(contains(measured, "Measured with 1 rank:"), measured);
  std::vector<std::string> const planned{quickstart, "--dry-run", "--set", "machine.name=here.toml"};
  std::string const plan = desk.succeeds("pretrain", planned);
  BOOST_TEST(contains(plan, "FLOP/s (measured)"), plan);
  BOOST_TEST(desk.succeeds("pretrain", planned) == plan);
}

BOOST_AUTO_TEST_CASE(what_a_file_gets_wrong_is_named_with_what_was_meant) {
  Desk const desk;
  struct Mistake {
    std::string toml;
    std::vector<std::string> parts;
  };
  for (auto const& [toml, parts] :
       std::vector<Mistake>{{"[model]\nlayer = 3\n", {"no key model.layer ", "Did you mean model.layers?"}},
                            {"[train]\nmicro_bach = 3\n", {"Did you mean train.micro_batch?"}},
                            {"[modle]\nlayers = 3\n", {"no section modle", "Did you mean model?"}},
                            {"[model]\nqqqqqqqqqqqq = 3\n", {"model.qqqqqqqqqqqq", "Known are preset, family"}},
                            {"layers = 3\n", {"layers"}},
                            {"model = 3\n", {"wrong.toml line 1", "[model]"}},
                            {"[model]\nlayers = \"three\"\n", {"wrong.toml line 2: model.layers takes a whole number"}},
                            {"[model]\n\nlayers = 2.5\n", {"wrong.toml line 3: model.layers takes a whole number"}},
                            {"[model]\nbias = 1\n", {"line 2: model.bias takes true or false"}},
                            {"[train]\nlr = \"high\"\n", {"line 2: train.lr takes a number"}},
                            {"[train]\nprecision = \"bf61\"\n", {"\"bf61\"", "Did you mean \"bf16\"?"}},
                            {"[data]\ntrain = \"corpus\"\n", {"line 2: data.train takes a list of strings"}},
                            {"[model]\nlayers = \n", {"wrong.toml line 2 column", "not TOML"}},
                            {"[model\nlayers = 3\n", {"wrong.toml line 1 column", "not TOML"}},
                            {"[model]\nlayers = 3\nlayers = 4\n", {"wrong.toml line 3", "layers"}},
                            {"[model]\nlayers = -1\n", {"model.layers", "-1"}},
                            {"[model]\nheads = 7\n", {"model.heads = 7 does not divide model.hidden = 768"}}}) {
    write_file("wrong.toml", toml);
    desk.fails("pretrain", {"wrong.toml", "--print-config"}, parts);
    desk.fails("pretrain", {"wrong.toml", "--dry-run"}, parts);
  }
}

BOOST_AUTO_TEST_CASE(wrong_settings_and_missing_files_are_named) {
  Desk const desk;
  desk.fails("pretrain", {"--set", "train.micro_batch=two", "--dry-run"}, {"train.micro_batch", "\"two\""});
  desk.fails("pretrain", {"--set", "train.micro_batch", "--dry-run"}, {"train.micro_batch has no value"});
  desk.fails("pretrain", {"--set", "trian.micro_batch=2", "--dry-run"}, {"Did you mean train.micro_batch?"});
  desk.fails("pretrain", {"--set", "model.preset=gpt2-124", "--dry-run"}, {"Did you mean \"gpt2-124m\"?"});
  desk.fails("pretrain", {"--set", "machine.name=fast.toml", "--dry-run"}, {"fast.toml"});
  desk.fails("pretrain", {"none.toml"}, {"none.toml", "no such file"});
  desk.fails("pretrain", {"."}, {"config"});
  desk.fails("pretrain", {}, {"data.train is empty"});
  desk.fails("pretrain", {"--set", "data.train=none"}, {"train.steps is 0"});
  desk.fails("pretrain", {"--set", "data.train=none", "--set", "train.steps=10"}, {"none.idx", "No such file"});
}

BOOST_AUTO_TEST_SUITE_END()
