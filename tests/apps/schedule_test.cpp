// The pipeline's schedule as selenite-pretrain prints and draws it.
#include "support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

std::vector<std::string> command(std::initializer_list<std::string> more) {
  std::vector<std::string> all{SELENITE_SOURCE "/data/quickstart/pretrain.toml",
                               "--set",
                               "layout.pipe=3",
                               "--set",
                               "train.global_batch=4",
                               "--set",
                               "train.micro_batch=1"};
  all.insert(all.end(), more);
  return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(print_schedule)

BOOST_AUTO_TEST_CASE(table_drawing_bubble_and_slots) {
  Desk const desk;
  BOOST_TEST(desk.succeeds("pretrain", command({"--world", "3", "--print-schedule"})) ==
             "Schedule of 3 stages, 1 chunk and 4 micro-batches, in times of F 1, B 2, I 1, W 1:\n"
             "F0.0 F0.1 F0.2 B0.0 F0.3 B0.1 B0.2 B0.3 G O\n"
             "F0.0 F0.1 B0.0 F0.2 B0.1 F0.3 B0.2 B0.3 G O\n"
             "F0.0 B0.0 F0.1 B0.1 F0.2 B0.2 F0.3 B0.3 G O\n"
             "\n"
             "stage 0  F0 F1 F2 .  .  .  .  B0--- F3 B1--- .  B2--- .  B3--- \n"
             "stage 1  .  F0 F1 .  .  B0--- F2 B1--- F3 B2--- .  B3--- .  .  \n"
             "stage 2  .  .  F0 B0--- F1 B1--- F2 B2--- F3 B3--- .  .  .  .  \n"
             "\n"
             "Bubble: 33.3 % of every stage's time; the step takes 18.0 units\n"
             "Slots of the stages: 3 2 1\n");
  std::string const two =
      desk.succeeds("pretrain", command({"--world", "6", "--print-schedule", "--set", "layout.interleave=2"}));
  BOOST_TEST(contains(two, "3 stages, 2 chunks and 2 micro-batches"), two);
  BOOST_TEST(contains(two, "\nSlots of the stages (chunks added): 2+2 2+2 2+1\n"), two);
  std::string const one = desk.succeeds("pretrain", {"--print-schedule", "--set", "train.global_batch=1"});
  BOOST_TEST(contains(one, "1 stage, 1 chunk and 1 micro-batch, "), one);
  BOOST_TEST(contains(one, "Bubble: 0.0 % of every stage's time"), one);
}

// Times are the plan's: the bubble of equal stages is known, the step's seconds are those that --dry-run expects.
BOOST_AUTO_TEST_CASE(a_machine_file_gives_the_times) {
  Desk const desk;
  write_file("machine.toml",
             "name = \"made up\"\nsource = \"made up\"\nmemory_bytes = 0\npeak_fp32 = 1e12\npeak_bf16 = 2e12\n"
             "peak_fp16 = 2e12\npeak_fp8 = 0\ndraw_rate = 0\nlaunch_seconds = 0.0\nlink_bandwidth = 1e9\nlink_latency = 1e-6\n"
             "[gemm_fp32]\nsizes = [1e6]\nrates = [1e12]\n[gemm_bf16]\nsizes = [1e6]\nrates = [2e12]\n"
             "[attention_fp32]\nsizes = [1e6]\nrates = [5e11]\n[attention_bf16]\nsizes = [1e6]\nrates = [5e11]\n"
             "[stream]\nsizes = [1e6]\nrates = [1e11]\n");
  auto const all = command(
      {"--world", "3", "--set", "machine.name=machine.toml", "--set", "layout.schedule=zero_bubble", "--dry-run"});
  std::string const planned = desk.succeeds("pretrain", all);
  auto with = all;
  with.back() = "--print-schedule";
  std::string const printed = desk.succeeds("pretrain", with);
  BOOST_TEST(contains(printed, "micro-batches, in times of made up:\n"), printed);
  BOOST_TEST(contains(printed, "F0.0 I0.0 F0.1 I0.1 F0.2 I0.2 W0.0 F0.3 I0.3 W0.1 W0.2 W0.3 G O\n"), printed);
  std::smatch time, step;
  BOOST_TEST_REQUIRE(std::regex_search(planned, time, std::regex("expected time +([^\n]+)\n")), planned);
  BOOST_TEST_REQUIRE(std::regex_search(printed, step, std::regex("the step takes ([^\n]+)\n")), printed);
  BOOST_TEST(time[1].str() == step[1].str());
  BOOST_TEST(
      std::regex_search(printed, std::regex("Bubble: [0-9.]+ % \\(stage [0-9]\\) to [0-9.]+ % \\(stage [0-9]\\)")),
      printed);
}

BOOST_AUTO_TEST_CASE(a_picture_is_written) {
  Desk const desk;
  std::string const printed = desk.succeeds("pretrain", command({"--world", "3", "--print-schedule=pipe.svg"}));
  BOOST_TEST(printed.starts_with("Schedule of 3 stages"));
  std::string const svg = read_file("pipe.svg");
  BOOST_TEST(svg.starts_with("<svg "));
  BOOST_TEST(svg.ends_with("</svg>\n"));
  BOOST_TEST(contains(svg, ">stage 2<"));
  desk.fails("pretrain", command({"--world", "3", "--print-schedule=none/pipe.svg"}),
             {"none/pipe.svg", "No such file"});
  desk.fails("pretrain", command({"--world", "3", "--print-schedule=run.toml"}), {"run.toml", "ends in .svg"});
  BOOST_TEST(!std::filesystem::exists("run.toml"));
  BOOST_TEST(contains(desk.succeeds("pretrain", {"--help"}), "--print-schedule"));
}

BOOST_AUTO_TEST_SUITE_END()
