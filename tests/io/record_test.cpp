#include "io/record.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "io/build_info.hpp"
#include "io/metrics.hpp"
#include "support.hpp"

using namespace selenite;
using namespace selenite::test;
using nlohmann::json;

namespace {

std::string content(std::filesystem::path const& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::int64_t> steps_in(std::filesystem::path const& path) {
  std::ifstream file(path);
  std::vector<std::int64_t> steps;
  for (std::string line; std::getline(file, line);) steps.push_back(json::parse(line)["step"]);
  return steps;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(records)

BOOST_AUTO_TEST_CASE(json_keeps_order_and_values) {
  JsonObject object;
  object.set("z", 1)
      .set("a", 0.1)
      .set("flag", true)
      .set("text", "say \"hi\"\n\xff")
      .set("list", std::vector<double>{1, 2.5});
  object.set("nan", std::nan("")).set("inner", JsonObject{{"x", std::int64_t{1} << 60}});
  object.set("z", 2);
  BOOST_TEST(
      object.text() ==
      "{\"z\":2,\"a\":0.1,\"flag\":true,\"text\":\"say \\\"hi\\\"\\n\xef\xbf\xbd\",\"list\":[1.0,2.5],\"nan\":null,"
      "\"inner\":{\"x\":1152921504606846976}}");
  BOOST_TEST(JsonObject().text() == "{}");
}

BOOST_AUTO_TEST_CASE(the_config_is_in_the_record_by_section) {
  Config const config = parse_config("[model]\nlayers = 3\nnorm = \"rmsnorm\"\n[train]\nlr = 0.1\n", {}, "test");
  RunRecord record;
  record.program = "selenite-pretrain";
  record.command_line = {"selenite-pretrain", "run.toml"};
  record.config = config;
  record.started = timestamp();
  record.result = "failed", record.error = "layout.tensor = 8 does not divide.";
  record.summary.set("steps", 7).set("memory_bytes", JsonObject{{"state", std::int64_t{5}}});
  TemporaryFolder const folder;
  write_record(folder / "run.json", record);
  auto const read = json::parse(content(folder / "run.json"));
  BOOST_TEST(read["config"]["model"]["layers"] == 3);
  BOOST_TEST(read["config"]["model"]["norm"] == "rmsnorm");
  BOOST_TEST(read["config"]["train"]["lr"] == 0.1);
  BOOST_TEST(read["config"]["model"]["bias"] == true);
  BOOST_TEST(read["summary"]["memory_bytes"]["state"] == 5);
  BOOST_TEST(read["result"] == "failed");
  BOOST_TEST(read["error"] == record.error);
  BOOST_TEST(read["version"] == build_info().version);
  BOOST_TEST(!read["build"]["compiler"].get<std::string>().empty());
  for (auto const& [library, version] : read["build"]["libraries"].items())
    BOOST_TEST(std::regex_match(version.get<std::string>(), std::regex("[0-9]+(\\.[0-9]+)+( \\(.+\\))?")),
               library << " " << version);
  BOOST_TEST(read["machine"]["memory_bytes"].get<std::int64_t>() > (1 << 20));
  BOOST_TEST(read["machine"]["cores"].get<int>() >= 1);
  BOOST_TEST(record.started.size() == 20u);
}

BOOST_AUTO_TEST_CASE(a_small_file_is_replaced_whole_or_not_at_all) {
  TemporaryFolder const folder;
  write_file_atomically(folder / "a", "one");
  write_file_atomically(folder / "a", "two");
  BOOST_TEST(content(folder / "a") == "two");
  BOOST_CHECK_THROW(write_file_atomically(folder / "no/such/a", "x"), Error);
  std::filesystem::create_directory(folder / "b");
  std::filesystem::create_directory(folder / "b/c");
  BOOST_CHECK_THROW(write_file_atomically(folder / "b", "x"), Error);  // not over a folder
  std::vector<std::string> names;
  for (auto const& entry : std::filesystem::directory_iterator(folder.path())) names.push_back(entry.path().filename());
  BOOST_TEST(names.size() == 2u);  // no temporary file is left
}

BOOST_AUTO_TEST_CASE(metrics_have_one_line_a_step_after_a_resume) {
  TemporaryFolder const folder;
  auto const path = folder / "metrics.jsonl";
  auto const append = [&](std::int64_t resumed, std::int64_t last) {
    MetricsFile file(path, resumed);
    for (std::int64_t step = resumed + 1; step <= last; ++step)
      file.append(JsonObject{{"step", step}, {"loss", 1.0 / double(step + 1)}});
  };
  append(-1, 9);
  append(5, 7);
  std::vector<std::int64_t> expected{0, 1, 2, 3, 4, 5, 6, 7};
  BOOST_TEST(steps_in(path) == expected, boost::test_tools::per_element());
  std::ofstream(path, std::ios::app) << "{\"step\": 8, \"lo";  // torn by a crash
  append(20, 21);
  expected.push_back(21);
  BOOST_TEST(steps_in(path) == expected, boost::test_tools::per_element());
  append(-1, 0);
  BOOST_TEST(steps_in(path).size() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
