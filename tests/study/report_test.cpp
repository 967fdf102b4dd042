#include "study/report.hpp"

#include <atomic>
#include <boost/test/unit_test.hpp>
#include <stdlib.h>

#include "stand_in.hpp"
#include "study/driver.hpp"
#include "study/plot_script.hpp"

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

}  // namespace

BOOST_AUTO_TEST_SUITE(report)

BOOST_AUTO_TEST_CASE(dropped_steps_count_nowhere) {
  std::vector<StepMetrics> steps;
  for (double seconds : {9.0, 5.0, 1.0, 4.0, 2.0, 3.0})
    steps.push_back({static_cast<std::int64_t>(steps.size() + 1), 1.0, seconds, 0.0});
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
  BOOST_TEST(written.files.size() == 3u);
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
