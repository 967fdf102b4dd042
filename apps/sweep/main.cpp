// selenite-sweep: a study file in, one record a point and one report out.
#include "apps/common/command_line.hpp"
#include "apps/sweep/commands.hpp"
#include "apps/sweep/predict.hpp"
#include "apps/sweep/search.hpp"

using namespace selenite;

int main(int argc, char** argv) {
  return app::guarded("selenite-sweep", argv, [&] {
    app::SweepOptions o;
    app::CommandLine line(
        "selenite-sweep",
        "Runs a study: trains one config with every combination of some values, keeps one record a point, "
        "and writes one report.");
    auto const command = [&](char const* name, char const* help, int (*run)(app::SweepOptions const&)) {
      auto sub = line.subcommand(name, help, [&o, run] { return run(o); });
      sub.option("study", o.study, "The study file (TOML; scaling/studies/README.md tells the format)", true);
      sub.option("--folder", o.folder, "Where records and report lie; default: study-<name> in the working folder");
      return sub;
    };
    command("plan", "Show what would run, and what can't be run and why; run nothing", app::plan_command);
    auto run =
        command("run", "Run here what is not done yet; interrupt it and call it again at any time", app::run_command);
    run.flag("--retry", o.retry, "Run points again that failed, timed out or ran out of memory");
    run.flag("--dry-run", o.dry_run, "The same as plan");
    run.option("--program", o.program, "What trains a point; default: selenite-pretrain beside this program");
    command("status", "Count what is done, running, pending and failed, with the reasons", app::status_command);
    command("report", "Write report.html, report.csv and report.md from the records", app::report_command);
    app::add_predict(line);
    app::add_search(line);
    app::ValidateOptions v;
    auto validate = line.subcommand("validate", "Predict published measurements and print both with the errors",
                                    [&v] { return app::validate_command(v); });
    validate.repeated("--set", v.sets, "Only this set of scaling/published (may be repeated)");
    validate.option("--folder", v.folder, "Where the sets lie; default: scaling/published of this program");
    validate.flag("--json", v.json, "One JSON object a set instead of tables");
    line.footer(
        "A study, for example:\n"
        "  [study]\n"
        "  name = \"batch\"\n"
        "  base = \"gpt.toml\"        # a config of selenite-pretrain, beside the study file\n"
        "  repeats = 3\n"
        "  drop_steps = 5           # warm-up: no figure counts them\n"
        "  [set]\n"
        "  \"train.steps\" = 30\n"
        "  [axes]\n"
        "  \"train.micro_batch\" = [1, 2, 4]\n"
        "\nExit codes of run: 0 all done, 1 an error, 2 wrong options, 3 some points failed, 130 interrupted.");
    return line.parse(argc, argv);
  });
}
