#include "apps/sweep/commands.hpp"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <signal.h>

#include "apps/sweep/print.hpp"
#include "core/error.hpp"
#include "core/files.hpp"
#include "plan/machine_files.hpp"
#include "study/lock.hpp"
#include "study/predict.hpp"
#include "study/report.hpp"

namespace selenite::app {
namespace {

namespace fs = std::filesystem;

struct SweepOptions {
  std::string study, folder, program;
  bool retry = false, dry_run = false, predict = false;
  double timeout_minutes = 0;         ///< of run-point
  std::vector<std::string> launcher;  ///< of run-point
};

/// How often the user or the system asked us to stop. Static, because a signal handler can reach nothing else.
std::atomic<int>& stops() {
  static std::atomic<int> count = 0;
  return count;
}

std::string folder_of(SweepOptions const& o, Study const& study) {
  return o.folder.empty() ? "study-" + study.name : o.folder;
}

std::string existing_folder(SweepOptions const& o, Study const& study) {
  std::string const folder = folder_of(o, study);
  validate(fs::is_directory(folder), "There is no study folder ", folder,
           " (nothing has been run in it). Run the study first, or give --folder.");
  return folder;
}

fs::path own_folder() { return fs::read_symlink("/proc/self/exe").parent_path(); }

std::string program_of(SweepOptions const& o) {
  fs::path const program = o.program.empty() ? own_folder() / "selenite-pretrain" : fs::path(o.program);
  validate(fs::is_regular_file(program), "There is no program ", program.string(),
           " (a study trains with selenite-pretrain). Build it, or give its path by --program.");
  return fs::absolute(program).string();
}

void catch_signals() {
  for (int number : {SIGINT, SIGTERM, SIGHUP}) signal(number, [](int) { ++stops(); });
}

/// Where the job templates are: named by SELENITE_SLURM, of this checkout, or of the installation.
std::string slurm_folder() {
  std::vector<fs::path> tried;
  if (char const* named = std::getenv("SELENITE_SLURM")) tried.emplace_back(named);
  tried.push_back(own_folder() / "../../../slurm"), tried.push_back(own_folder() / "../share/selenite/slurm");
  for (fs::path const& folder : tried)
    if (fs::is_regular_file(folder / "point.sbatch")) return fs::canonical(folder).string();
  throw Error(
      "Can't find the job templates (they are in neither this checkout's nor the installation's slurm folder). Set "
      "SELENITE_SLURM to the folder that holds submit.sh.");
}

SubmitOptions submit_options(SweepOptions const& o, Study const& study) {
  return {fs::absolute(folder_of(o, study)).lexically_normal().string(), slurm_folder(), o.retry};
}

/// Points that a machine file has no memory for are infeasible with that reason.
std::vector<Point> without_room(std::vector<Point> points) {
  for (Point& p : points)
    if (p.infeasible.empty() && p.config.machine.name != "auto")
      p.infeasible = memory_shortage(p, named_machine(p.config.machine.name));
  return points;
}

int predict_points(Study const& study, std::vector<Point> const& points, std::string const& folder) {
  FolderLock const lock = take_folder(study, folder, 0);
  std::int64_t predicted = 0, failed = 0;
  for (Point const& point : points) {
    if (!point.infeasible.empty()) continue;
    try {
      std::cout << prediction_text(point, predict_point(point, folder)) << std::flush;
      ++predicted;
    } catch (Error const& e) {
      std::cout << concat(point.name, ": ", e.what(), "\n");
      ++failed;
    }
  }
  std::cout << concat(predicted, " predicted, ", failed, " failed, ", points.size() - predicted - failed,
                      " infeasible. Records in ", folder, "\n");
  return failed ? 3 : 0;
}

int plan_command(SweepOptions const& o) {
  Study const study = load_study(o.study);
  auto const points = without_room(expand(study));
  std::cout << plan_text(study, points, folder_of(o, study));
  if (study.launcher == Launcher::slurm) std::cout << jobs_text(study, points, submit_options(o, study));
  return 0;
}

int status_command(SweepOptions const& o) {
  Study const study = load_study(o.study);
  auto const points = expand(study);
  settle(tasks_of(study, points, folder_of(o, study)));
  std::cout << status_text(study, points, folder_of(o, study));
  return 0;
}

int run_command(SweepOptions const& o) {
  if (o.dry_run) return plan_command(o);
  Study const study = load_study(o.study);
  auto const points = expand(study);
  if (o.predict) return predict_points(study, points, folder_of(o, study));
  DriverOptions const options{.folder = folder_of(o, study),
                              .program = program_of(o),
                              .retry = o.retry,
                              .calibrator = fs::read_symlink("/proc/self/exe").string()};
  catch_signals();
  auto const tell = [](StudyEvent const& p) { std::cout << progress_text(p) << std::flush; };
  auto const summary = run_study(study, points, options, stops(), tell);
  std::cout << summary_text(summary, options.folder);
  return summary.interrupted ? 130 : summary.failed ? 3 : 0;
}

int submit_command(SweepOptions const& o) {
  Study const study = load_study(o.study);
  validate(study.launcher == Launcher::slurm, study.file,
           ": study.launcher is \"local\" (submit is for Slurm). Set it to ",
           "\"slurm\" and give [slurm] ranks_per_node and time, or use run.");
  auto const points = without_room(expand(study));
  if (o.dry_run) return plan_command(o);
  static_cast<void>(setenv("SELENITE_BIN", fs::path(program_of(o)).parent_path().c_str(), 0));
  SubmitOptions const options = submit_options(o, study);
  std::cout << submitted_text(submit_study(study, points, options), options.folder);
  return 0;
}

int run_point_command(SweepOptions const& o) {
  catch_signals();
  static std::atomic<bool> time_is_up = false;
  signal(SIGUSR1, [](int) { time_is_up = true, ++stops(); });
  PointRecord const record = run_submitted(o.folder, o.launcher, program_of(o), o.timeout_minutes, stops(), time_is_up);
  std::cout << concat(record.name, " repeat ", record.repeat, ": ", name_of(record.status),
                      record.reason.empty() ? "" : ". ", record.reason, "\n");
  return record.status == Status::done ? 0 : 3;
}

int collect_command(SweepOptions const& o) {
  Study const study = load_study(o.study);
  std::string const folder = existing_folder(o, study);
  auto const points = expand(study);
  settle(tasks_of(study, points, folder));
  std::string const file = folder + "/report.csv";
  write_file_atomically(file, csv_text(collect(study, folder)));
  std::cout << status_text(study, points, folder) << file << "\n";
  return 0;
}

int report_command(SweepOptions const& o) {
  Study const study = load_study(o.study);
  std::string const folder = existing_folder(o, study);
  auto const written = write_report(collect(study, folder), folder);
  for (std::string const& file : written.files) std::cout << file << "\n";
  validate(written.problem.empty(), written.problem);
  return 0;
}

constexpr char const* example =
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
    "\nExit codes of run: 0 all done, 1 an error, 2 wrong options, 3 some points failed, 130 interrupted.";

}  // namespace

void add_studies(CommandLine& line) {
  auto const o = std::make_shared<SweepOptions>();
  auto const command = [&](char const* name, char const* help, int (*run)(SweepOptions const&)) {
    auto sub = line.subcommand(name, help, [o, run] { return run(*o); });
    sub.option("study", o->study, "The study file (TOML; scaling/studies/README.md tells the format)", true);
    sub.option("--folder", o->folder, "Where records and report lie; default: study-<name> in the working folder");
    return sub;
  };
  command("plan", "Show what would run, what can't be run and why, and Slurm's jobs; run nothing", plan_command);
  auto run = command("run", "Run here what is not done yet; interrupt it and call it again at any time", run_command);
  run.flag("--retry", o->retry, "Run points again that failed, timed out or ran out of memory");
  run.flag("--dry-run", o->dry_run, "The same as plan");
  run.flag("--predict", o->predict, "Start nothing: predict every point on the machine that the study names");
  run.option("--program", o->program, "What trains a point; default: selenite-pretrain beside this program");
  auto submit =
      command("submit", "Hand what is not done to Slurm: a job array for each number of nodes, and a collector",
              submit_command);
  submit.flag("--retry", o->retry, "Submit points again that failed, timed out or ran out of memory");
  submit.flag("--dry-run", o->dry_run, "The same as plan");
  command("status", "Count what is done, running, in the queue, pending and failed, with the reasons", status_command);
  command("collect", "Bring the records up to date with what Slurm says of their jobs, and write report.csv",
          collect_command);
  command("report", "Write report.html, report.csv, report.md and report.tex from the records", report_command);
  auto point = line.subcommand("run-point", "Run one repeat of a point: what jobs of submit call",
                               [o] { return run_point_command(*o); });
  point.option("folder", o->folder, "The repeat's folder, where submit wrote its config", true);
  point.option("--timeout-minutes", o->timeout_minutes, "End it after so long; 0: the job's limit alone counts");
  point.option("--program", o->program, "What trains a point; default: selenite-pretrain beside this program");
  point.option("launcher", o->launcher, "How ranks are started (after --): srun --mpi=pmix");
  line.footer(example);
}

}  // namespace selenite::app
