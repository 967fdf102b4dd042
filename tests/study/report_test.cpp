#include "study/report.hpp"

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <stdlib.h>

#include "plan/predict.hpp"
#include "stand_in.hpp"
#include "study/driver.hpp"
#include "study/plot_script.hpp"
#include "study/predict.hpp"

using namespace selenite;
using namespace study_test;

namespace {

StudyResult measured(Workplace const& here, std::string const& rest, std::string const& head = "") {
  Study const study = load_study(here.study(rest, head));
  std::atomic<int> const stop = 0;
  auto const points = expand(study);
  run_study(study, points, {here.path("out"), here.program()}, stop, [](StudyEvent const&) {});
  return collect(study, here.path("out"));
}

RunResult run_of(double step_seconds) {
  RunResult run;
  run.step_seconds = step_seconds, run.mfu = 0.4, run.hfu = 0.5, run.model_tflops_per_rank = 2,
  run.hardware_tflops_per_rank = 2.5;
  return run;
}

/// A machine file in the workplace whose GEMMs all run at half of its peak of 2 TFLOP/s.
std::string machine_file(Workplace const& here, std::int64_t memory_bytes) {
  Machine m;
  m.name = "test machine", m.memory_bytes = memory_bytes;
  m.peak_fp32 = m.peak_bf16 = m.peak_fp16 = 2e12;
  m.gemm_fp32 = m.gemm_bf16 = m.attention_fp32 = m.attention_bf16 = {{1e6, 1e12}, {1e12, 1e12}};
  m.stream = {{1e3, 1e9}, {1e11, 1e11}};
  m.launch_seconds = 1e-6, m.link_bandwidth = 1e10, m.link_latency = 1e-6;
  write(here.path("machine.toml"), to_toml(m));
  return here.path("machine.toml");
}

StudyResult predicted(Workplace const& here, std::string const& rest, std::string const& head,
                      std::int64_t memory_bytes = 0) {
  std::string const machine = "machine = \"" + machine_file(here, memory_bytes) + "\"\n";
  Study const study = load_study(here.study(rest, machine + head));
  for (Point const& point : expand(study))
    if (point.infeasible.empty()) predict_point(point, here.path("out"));
  return collect(study, here.path("out"));
}

std::string cell(Table const& t, std::size_t row, std::string const& head) {
  auto const at = std::find(t.head.begin(), t.head.end(), head);
  BOOST_REQUIRE_MESSAGE(at != t.head.end(), "no column " << head);
  return t.rows.at(row)[static_cast<std::size_t>(at - t.head.begin())];
}

std::vector<std::string> plot_names(StudyResult const& result) {
  std::vector<std::string> names;
  for (Plot const& plot : plots_of(result)) names.push_back(plot.name);
  return names;
}
bool has(std::vector<std::string> const& names, std::string const& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(report)

BOOST_AUTO_TEST_CASE(predictions_are_those_of_the_pricing_walk_and_are_marked) {
  Workplace here;
  auto const result = predicted(here, "[set]\ntrain.global_batch = 64\n", "ranks = [1, 2, 4, 8]\ntrain_tokens = 1e9");
  BOOST_REQUIRE_EQUAL(result.shown().size(), 4u);
  Table const t = main_table(result);
  for (std::size_t i = 0; i < 4; ++i) {
    Point const& p = result.points[i].point;
    Prediction const expected = predict(p.config, load_machine(here.path("machine.toml")));
    BOOST_TEST(result.points[i].predicted->figures.step_seconds == expected.iteration_seconds);
    BOOST_TEST(cell(t, i, "figures") == "predicted");
    BOOST_TEST(cell(t, i, "machine") == "test machine");
    double const days = 1e9 / expected.tokens_per_second / 86400;
    BOOST_TEST(std::stod(cell(t, i, "days for 1.00 G tokens")) == days, boost::test_tools::tolerance(0.01));
  }
  BOOST_TEST(cell(t, 0, "efficiency %") == "100.0");
  BOOST_TEST(std::stod(cell(t, 3, "efficiency %")) < 100);
  auto const names = plot_names(result);
  for (std::string const name : {"aggregate", "strong", "days", "mfu-axis", "time", "memory", "utilization"})
    BOOST_TEST(has(names, name), "no plot " << name);
  BOOST_TEST(!has(names, "prediction"));  // nothing is measured
  BOOST_TEST(!has(names, "loss"));
  BOOST_TEST(contains(csv_text(result), ",predicted,,8,8,step_seconds,"));
  BOOST_TEST(contains(markdown_text(result), "Steps: none: all figures are predicted"));
  BOOST_TEST(contains(markdown_text(result), "Machine: test machine (predicted)"));
}

BOOST_AUTO_TEST_CASE(a_batch_that_grows_with_the_ranks_is_no_strong_scaling) {
  Workplace here;
  auto const names = plot_names(predicted(here, "[set]\ntrain.global_batch = \"4 * ranks\"\n", "ranks = [1, 2, 4, 8]"));
  BOOST_TEST(has(names, "aggregate"));
  BOOST_TEST(!has(names, "strong"));
}

// A machine that is twice as fast, or other training, is no efficiency.
BOOST_AUTO_TEST_CASE(efficiency_compares_what_differs_in_nothing_but_the_ranks) {
  Workplace here;
  std::string const slow = machine_file(here, 0), fast = here.path("fast.toml");
  Machine m = load_machine(slow);
  for (RateCurve Machine::*curve : {&Machine::gemm_bf16, &Machine::attention_bf16})
    for (double& rate : (m.*curve).rates) rate *= 4;
  write(fast, to_toml(m));
  Study const study =
      load_study(here.study("[axes]\ntrain.micro_batch = [1, 8]\n[set]\ntrain.global_batch = \"8 * ranks\"\n",
                            "ranks = [1, 4]\nmachine = [\"" + slow + "\", \"" + fast + "\"]\n"));
  for (Point const& point : expand(study)) predict_point(point, here.path("out"));
  auto const result = collect(study, here.path("out"));
  Table const t = main_table(result);
  BOOST_REQUIRE_EQUAL(t.rows.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) {
    bool const smallest = result.points[i].point.ranks == 1;
    BOOST_TEST((cell(t, i, "efficiency %") == "100.0") == smallest, t.rows[i].front());
    BOOST_TEST(std::stod(cell(t, i, "efficiency %")) <= 100, t.rows[i].front());
  }
}

BOOST_AUTO_TEST_CASE(predicted_and_measured_stand_side_by_side) {
  Workplace here;
  std::string const rest = "[set]\ntrain.global_batch = 8\n[axes]\ntrain.micro_batch = [1, 2]\n";
  predicted(here, rest, "");
  auto const result = measured(here, rest, "machine = \"" + here.path("machine.toml") + "\"");
  BOOST_TEST(result.shown().size() == 4u);
  Table const t = main_table(result);
  BOOST_TEST(cell(t, 0, "figures") == "measured");
  BOOST_TEST(cell(t, 2, "figures") == "predicted");
  Table const both = prediction_table(result);
  BOOST_REQUIRE_EQUAL(both.rows.size(), 2u);
  double const error = result.points[0].predicted->figures.step_seconds / 0.1 - 1;
  BOOST_TEST(std::stod(cell(both, 0, "error %")) == 100 * error, boost::test_tools::tolerance(0.01));
  auto const names = plot_names(result);
  BOOST_TEST(has(names, "prediction"));
}

BOOST_AUTO_TEST_CASE(a_map_of_layouts_says_why_cells_are_empty) {
  Workplace here;
  std::string const rest = "[axes]\nlayout.tensor = [1, 2, 8]\nlayout.pipe = [1, 2]\n[set]\ntrain.global_batch = 16\n";
  auto const whole = predicted(here, rest, "ranks = 8");
  auto const bytes_of = [](PointResult const& p) {
    double sum = 0;
    for (auto const& [label, bytes] : p.predicted->run->memory_bytes) sum += bytes;
    return sum;
  };
  auto const limit = static_cast<std::int64_t>(bytes_of(whole.points[0])) - 1;  // no room for the first
  auto const result = predicted(here, rest, "ranks = 8", limit);
  BOOST_TEST(result.shown().size() == 3u);
  std::string map;
  for (Plot const& plot : plots_of(result))
    if (plot.name == "tensor-pipe") map = plot.script;
  BOOST_TEST(contains(map, "0 0 \"memory\""));
  BOOST_TEST(contains(map, "0 2 \"heads\""));  // 8 tensor ranks, 4 heads
  std::string const reasons = markdown_text(result);
  BOOST_TEST(contains(reasons, "Its fullest rank needs"));
  BOOST_TEST(contains(reasons, "layout.tensor = 8 does not divide model.heads = 4"));
  // what has no room takes no part in tables and charts
  BOOST_TEST(main_table(result).rows.size() == 3u);
}

BOOST_AUTO_TEST_CASE(a_machine_file_without_a_figure_or_with_a_negative_one_is_refused) {
  Workplace here;
  std::string const whole = read(machine_file(here, 0));
  auto const refusal = [&](std::string const& from, std::string const& to) {
    std::string text = whole;
    text.replace(text.find(from), from.size(), to);
    write(here.path("machine.toml"), text);
    Study const study = load_study(here.study("", "machine = \"" + here.path("machine.toml") + "\""));
    auto const points = expand(study);
    return message_of([&] { predict_point(points[0], here.path("out")); });
  };
  BOOST_TEST(contains(refusal("launch_seconds", "lunch_seconds"), "launch_seconds"));
  BOOST_TEST(contains(refusal("link_bandwidth = ", "link_bandwidth = -"), "link_bandwidth"));
  Study const study = load_study(here.study("", "machine = \"selen\""));
  auto const points = expand(study);
  BOOST_TEST(
      contains(message_of([&] { predict_point(points[0], here.path("out")); }), "There is no machine \"selen\""));
  Study const none = load_study(here.study(""));
  auto const unnamed = expand(none);
  BOOST_TEST(contains(message_of([&] { predict_point(unnamed[0], here.path("out")); }), "Give study.machine"));
}

BOOST_AUTO_TEST_CASE(a_corrupt_prediction_is_none) {
  Workplace here;
  predicted(here, "", "");
  Study const study = load_study(here.path("study.toml"));
  auto const points = expand(study);
  write(prediction_file(here.path("out"), points[0]), "{\"result\": \"predi");
  BOOST_TEST(collect(study, here.path("out")).shown().empty());
  predict_point(points[0], here.path("out"));
  BOOST_TEST(collect(study, here.path("out")).shown().size() == 1u);
}

BOOST_AUTO_TEST_CASE(latex_has_the_tables_and_escapes_what_is_special) {
  Workplace here;
  auto result = measured(here, "[axes]\ntrain.micro_batch = [1, 2]\n");
  result.study.description = "50% of a_b & {c} ~ \\d";
  std::string const text = latex_text(result);
  BOOST_TEST(contains(text, "50\\% of a\\_b \\& \\{c\\} \\~{} \\textbackslash{}d"));
  BOOST_TEST(contains(text, "\\begin{tabular}{l"));
  BOOST_TEST(contains(text, "TFLOP/s/rank & \\% of peak"));
  std::size_t open = 0, closed = 0;
  for (auto at = text.find("\\begin{"); at != std::string::npos; at = text.find("\\begin{", at + 1)) ++open;
  for (auto at = text.find("\\end{"); at != std::string::npos; at = text.find("\\end{", at + 1)) ++closed;
  BOOST_TEST(open == 4u);
  BOOST_TEST(closed == open);
}

BOOST_AUTO_TEST_CASE(zipped_keys_are_named_by_the_first_that_tells_them_apart) {
  Workplace here;
  auto const result = measured(
      here,
      "[[zip]]\nmodel.sequence_length = [64, 128]\ntrain.global_batch = [16, 8]\n[axes]\ntrain.micro_batch = [1, 2]\n");
  BOOST_TEST(result.points[1].label == "s=64 b=2");
}

BOOST_AUTO_TEST_CASE(dropped_steps_count_nowhere) {
  std::vector<StepMetrics> steps;
  for (double seconds : {9.0, 5.0, 1.0, 4.0, 2.0, 3.0})
    steps.push_back({static_cast<std::int64_t>(steps.size() + 1), 1.0, seconds, 0.0, 0.25, 0, {}});
  Figures const f = figures_of(run_of(5), steps, 2, 1000);  // 1 4 2 3 are left
  BOOST_TEST(f.steps == 4);
  BOOST_TEST(f.step_seconds == 2.5);
  BOOST_TEST(f.step_seconds_min == 1.0);
  BOOST_TEST(f.step_seconds_max == 4.0);
  BOOST_TEST(f.tokens_per_second == 400.0);
  BOOST_TEST(f.mfu == 0.8);  // the record's 40 % were of a step of 5 s
  BOOST_TEST(f.hfu == 1.0);
  BOOST_TEST(f.model_tflops_per_rank == 4.0);
  BOOST_TEST(contains(message_of([&] { figures_of(run_of(5), steps, 6, 1000); }), "no step after the first 6"));
  // on a device some steps are timed, and a line tells the last of them that is known
  for (std::size_t i : {1u, 2u}) steps[i].timed_step = 2, steps[i].time_seconds = {{"gemm", 4.5}};
  for (std::size_t i : {3u, 4u}) steps[i].timed_step = 4, steps[i].time_seconds = {{"gemm", 1.5}};
  steps[5].timed_step = 6, steps[5].time_seconds = {{"gemm", 0.5}};
  Numbers const expected{{"gemm", 1.0}, {"data", 0.25}, {"other", 1.25}};  // of the mean step, 2.5 s
  BOOST_TEST((figures_of(run_of(5), steps, 2, 1000).time_seconds == expected));
}

BOOST_AUTO_TEST_CASE(the_typical_repeat_is_the_middle_one) {
  PointResult point;
  BOOST_TEST(!point.typical());
  for (double seconds : {3.0, 1.0, 2.0}) {
    RepeatResult repeat;
    repeat.record.status = Status::done, repeat.figures.step_seconds = seconds;
    point.repeats.push_back(repeat);
  }
  BOOST_TEST(point.typical()->figures.step_seconds == 2.0);
  point.repeats[2].record.status = Status::failed;
  BOOST_TEST(point.typical()->figures.step_seconds == 1.0);  // of two, the faster
}

BOOST_AUTO_TEST_CASE(csv_has_every_repeat_and_every_failure) {
  Workplace here;
  auto const result =
      measured(here, "[axes]\ntrain.seed = [1, 2]\ntrain.micro_batch = [2, 3]\n", "repeats = 2\ndrop_steps = 1");
  std::string const csv = csv_text(result);
  BOOST_TEST(
      contains(csv, "study,id,point,repeat,status,reason,ranks,train.seed,train.micro_batch,quantity,value,unit\n"));
  std::string const id = result.points[0].point.id;
  // the stand-in: all steps but the first take 0.1 s, of 8 x 128 tokens
  for (std::string const repeat : {"1", "2"}) {
    BOOST_TEST(contains(csv, "s," + id + ",\"seed=1,micro_batch=2\"," + repeat + ",done,,1,1,2,step_seconds,0.1,s\n"));
    BOOST_TEST(contains(csv, ",\"seed=1,micro_batch=2\"," + repeat + ",done,,1,1,2,tokens_per_second,10240.0,1/s\n"));
    BOOST_TEST(contains(
        csv, ",\"seed=2,micro_batch=2\"," + repeat +
                 ",failed,It ended with exit code 3: The loss is not a number (step 3). Lower the rate.,1,2,2,,,\n"));
  }
  BOOST_TEST(contains(csv, "memory_bytes.gradients,4e+06,B"));
  BOOST_TEST(contains(csv, ",\"seed=1,micro_batch=3\",,infeasible,"));
}

BOOST_AUTO_TEST_CASE(tables_state_what_the_figures_rest_on) {
  Workplace here;
  auto const result = measured(here, "[axes]\ntrain.seed = [1, 2]\ntrain.micro_batch = [2, 3]\n", "drop_steps = 1");
  std::string const text = markdown_text(result);
  for (std::string const part :
       {"FLOPs convention: attention counted whole", "Peak: 1.000 TFLOP/s a rank", "Precision: bf16",
        "Vocabulary V: 256", "Sequence length s: 128", "the first 1 dropped", "Commit: abc1234", "Test CPU (here)",
        "1 finished, 1 failed, 2 points infeasible", "The loss is not a number", "not a multiple of micro_batch",
        "Mean error 10.0 %, largest 10.0 %"})
    BOOST_TEST(contains(text, part), "missing: " << part);
  BOOST_TEST(cell(prediction_table(result), 0, "gemm (s)") == "0.0700 / 0.0600");
  BOOST_TEST(contains(csv_text(result), ",time_seconds.gemm,0.06,s\n"));
  Table const t = main_table(result);
  BOOST_REQUIRE_EQUAL(t.rows.size(), 1u);
  auto const cell = [&](std::string const& head) {
    auto const at = std::find(t.head.begin(), t.head.end(), head);
    BOOST_REQUIRE(at != t.head.end());
    return t.rows[0][static_cast<std::size_t>(at - t.head.begin())];
  };
  BOOST_TEST(cell("tokens/s") == "10240");
  BOOST_TEST(cell("MFU %") == "40.0");
  BOOST_TEST(cell("HFU %") == "50.0");
  BOOST_TEST(cell("b") == "2");
  BOOST_TEST(cell("batch") == "8");
}

BOOST_AUTO_TEST_CASE(the_page_stands_alone_and_escapes_what_runs_say) {
  Workplace here;
  auto result = measured(here, "[axes]\ntrain.seed = [1, 2]\ntrain.micro_batch = [2, 4]\n", "repeats = 2");
  result.study.description = "a < b & \"c\"";
  result.points[2].repeats[0].record.reason = "<script>alert(1)</script>";
  auto const written = write_report(result, here.path("out"));
  BOOST_TEST(written.problem.empty(), written.problem);
  std::string const html = read(here.path("out/report.html"));
  BOOST_TEST(contains(html, "a &lt; b &amp; &quot;c&quot;"));
  BOOST_TEST(!contains(html, "<script"));
  for (std::string const network : {"src=", "<link", "@import", "<?xml", "url(http"})
    BOOST_TEST(!contains(html, network), network);
  // as many pictures as charts, each with ids of its own
  auto const plots = plots_of(result);
  BOOST_TEST(plots.size() >= 5u);
  std::size_t pictures = 0;
  for (auto at = html.find("<svg"); at != std::string::npos; at = html.find("<svg", at + 1)) ++pictures;
  BOOST_TEST(pictures == plots.size());
  for (Plot const& plot : plots) BOOST_TEST(contains(html, "id=\"" + plot.name + "-gnuplot_canvas\""));
}

BOOST_AUTO_TEST_CASE(a_study_without_one_finished_point_has_a_report_too) {
  Workplace here;
  auto const result = measured(here, "[set]\ntrain.seed = 2\n");
  auto const written = write_report(result, here.path("out"));
  BOOST_TEST(written.files.size() == 4u);
  BOOST_TEST(contains(read(here.path("out/report.html")), "No point is measured yet"));
  BOOST_TEST(contains(read(here.path("out/report.md")), "The loss is not a number"));
}

BOOST_AUTO_TEST_CASE(without_gnuplot_csv_and_markdown_are_written_and_the_error_says_what_to_install) {
  Workplace here;
  auto const result = measured(here, "");
  std::string const path = getenv("PATH");
  setenv("PATH", here.path("empty").c_str(), 1);
  auto const written = write_report(result, here.path("out"));
  setenv("PATH", path.c_str(), 1);
  BOOST_TEST(contains(written.problem, "apt install gnuplot-nox"));
  BOOST_TEST(contains(read(here.path("out/report.csv")), "tokens_per_second"));
  BOOST_TEST(contains(read(here.path("out/report.md")), "Results"));
  BOOST_TEST(contains(read(here.path("out/report.html")), "apt install gnuplot-nox"));
}

BOOST_AUTO_TEST_CASE(names_of_any_kind_are_only_text_to_gnuplot) {
  Workplace here;
  BarChart chart;
  chart.axis = "it's 100% `touch x` \"quoted\" \\n";
  chart.labels = {"a'b", "`touch x`", "<&>"};
  chart.series = {{"one's", {1, unknown_number, 3}}};
  fs::create_directories(here.path("it's a folder"));
  std::string const svg = draw(script_of(chart), "chart", here.path("it's a folder"));
  BOOST_TEST(contains(svg, "a'b"));
  BOOST_TEST(contains(svg, "`touch x`"));
  BOOST_TEST(contains(svg, "&lt;&amp;"));
  BOOST_TEST(!fs::exists(here.path("it's a folder/x")));
}

BOOST_AUTO_TEST_SUITE_END()
