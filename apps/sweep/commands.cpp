#include "apps/sweep/commands.hpp"

#include <atomic>
#include <filesystem>
#include <iostream>
#include <signal.h>

#include "apps/sweep/print.hpp"
#include "core/error.hpp"
#include "study/report.hpp"
#include "study/validate.hpp"

namespace selenite::app {
namespace {

/// How often the user or the system asked us to stop. Static, because a signal handler can reach nothing else.
std::atomic<int>& stops() {
  static std::atomic<int> count = 0;
  return count;
}

std::string folder_of(SweepOptions const& o, Study const& study) {
  return o.folder.empty() ? "study-" + study.name : o.folder;
}

std::string program_of(SweepOptions const& o) {
  namespace fs = std::filesystem;
  fs::path const program =
      o.program.empty() ? fs::read_symlink("/proc/self/exe").parent_path() / "selenite-pretrain" : fs::path(o.program);
  validate(fs::is_regular_file(program), "There is no program ", program.string(),
           " (a study trains with selenite-pretrain). Build it, or give its path by --program.");
  return fs::absolute(program).string();
}

}  // namespace

int plan_command(SweepOptions const& o) {
  Study const study = load_study(o.study);
  std::cout << plan_text(study, expand(study), folder_of(o, study));
  return 0;
}

int status_command(SweepOptions const& o) {
  Study const study = load_study(o.study);
  std::cout << status_text(study, expand(study), folder_of(o, study));
  return 0;
}

int run_command(SweepOptions const& o) {
  if (o.dry_run) return plan_command(o);
  Study const study = load_study(o.study);
  auto const points = expand(study);
  DriverOptions const options{
      .folder = folder_of(o, study), .program = program_of(o), .retry = o.retry, .calibrate = true};
  for (int number : {SIGINT, SIGTERM, SIGHUP}) signal(number, [](int) { ++stops(); });
  auto const tell = [](Progress const& p) { std::cout << progress_text(p) << std::flush; };
  auto const summary = run_study(study, points, options, stops(), tell);
  std::cout << summary_text(summary, options.folder);
  return summary.interrupted ? 130 : summary.failed ? 3 : 0;
}

int report_command(SweepOptions const& o) {
  Study const study = load_study(o.study);
  std::string const folder = folder_of(o, study);
  validate(std::filesystem::is_directory(folder), "There is no study folder ", folder,
           " (nothing has been run in it). Run the study first, or give --folder.");
  auto const written = write_report(collect(study, folder), folder);
  for (std::string const& file : written.files) std::cout << file << "\n";
  validate(written.problem.empty(), written.problem);
  return 0;
}

int validate_command(ValidateOptions const& o) {
  std::string const folder = o.folder.empty() ? published_folder() : o.folder;
  for (std::string const& name : o.sets.empty() ? published_names(folder) : o.sets) {
    PublishedSet const set = load_published(folder, name);
    auto const rows = validate_set(set);
    std::cout << (o.json ? to_json(set, rows) : describe(set, rows) + "\n") << std::flush;
  }
  return 0;
}

}  // namespace selenite::app
