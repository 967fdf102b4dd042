#include "apps/sweep/print.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <string_view>

#include "core/error.hpp"
#include "core/text.hpp"
#include "core/toml.hpp"

namespace selenite::app {
namespace {

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

/// "2 done, 1 failed" over the repeats of a point.
std::string states(Study const& study, Point const& point, std::string const& folder) {
  std::map<Status, std::int64_t> count;
  for (std::int64_t repeat = 1; repeat <= study.repeats; ++repeat)
    ++count[state_of(repeat_folder(folder, point, repeat)).status];
  std::vector<std::string> parts;
  for (auto const& [status, n] : count) parts.push_back(concat(n, " ", name_of(status)));
  return join(parts, ", ");
}

/// A command as a shell reads it back.
std::string shell_line(std::vector<std::string> const& command) {
  std::vector<std::string> words;
  for (std::string const& word : command) {
    bool const plain = !word.empty() && std::ranges::all_of(word, [](unsigned char c) {
      return std::isalnum(c) || std::string_view("_-./=:,%@+").find(static_cast<char>(c)) != std::string_view::npos;
    });
    std::string quoted = "'";
    for (char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    words.push_back(plain ? word : quoted + "'");
  }
  return join(words, " ");
}

std::int64_t count_infeasible(std::vector<Point> const& points) {
  return std::count_if(points.begin(), points.end(), [](Point const& p) { return !p.infeasible.empty(); });
}

}  // namespace

std::string plan_text(Study const& study, std::vector<Point> const& points, std::string const& folder) {
  auto const infeasible = count_infeasible(points);
  auto const feasible = static_cast<std::int64_t>(points.size()) - infeasible;
  std::string text =
      concat("Study ", study.name, ": ", feasible, feasible == 1 ? " point, " : " points, ", study.repeats,
             study.repeats == 1 ? " repeat each" : " repeats each", ", folder ", folder, "\n");
  if (!study.description.empty()) text += concat("  ", study.description, "\n");
  std::size_t width = 4;
  for (Point const& p : points) width = std::max(width, p.name.size());
  text += concat("\n  ", padded("point", width), "  ranks  steps  id            state\n");
  for (Point const& p : points)
    if (p.infeasible.empty())
      text += concat("  ", padded(p.name, width), "  ", padded(std::to_string(p.ranks), 5), "  ",
                     padded(std::to_string(p.config.train.steps), 5), "  ", p.id, "  ", states(study, p, folder), "\n");
  if (infeasible) text += concat("\n", infeasible, infeasible == 1 ? " point can't" : " points can't", " be run:\n");
  for (Point const& p : points)
    if (!p.infeasible.empty()) text += concat("  ", padded(p.name, width), "  ", p.infeasible, "\n");
  return text;
}

std::string status_text(Study const& study, std::vector<Point> const& points, std::string const& folder) {
  std::map<Status, std::int64_t> count;
  std::string reasons;
  for (Task const& task : tasks_of(study, points, folder)) {
    PointRecord const record = state_of(task.folder);
    ++count[record.status];
    if (is_failure(record.status))
      reasons += concat("  ", task.point->name, " repeat ", task.repeat, ": ", name_of(record.status), ". ",
                        record.reason, "\n");
    std::string const job = record.job.empty() ? "" : concat(", job ", record.job);
    if (record.status == Status::running)
      reasons += concat("  ", task.point->name, " repeat ", task.repeat, ": running since ", record.started, " on ",
                        record.nodes.empty() ? record.host : record.nodes, job, "\n");
    if (record.status == Status::submitted)
      reasons += concat("  ", task.point->name, " repeat ", task.repeat, ": in the queue", job, "\n");
  }
  std::vector<std::string> parts;
  for (auto const& [status, n] : count) parts.push_back(concat(n, " ", name_of(status)));
  if (auto const n = count_infeasible(points)) parts.push_back(concat(n, " infeasible"));
  return concat("Study ", study.name, " in ", folder, ": ", join(parts, ", "), "\n", reasons);
}

std::string progress_text(StudyEvent const& p) {
  std::string const head = concat("[", p.index, "/", p.total, "] ", p.task.point->name,
                                  p.task.repeat > 1 ? concat(" repeat ", p.task.repeat) : "", ": ");
  switch (p.what) {
    case StudyEvent::What::started:
      return head + "started\n";
    case StudyEvent::What::adopted:
      return head + "had finished after its driver was killed\n";
    case StudyEvent::What::kept:
      return p.record.status == Status::done
                 ? ""
                 : concat(head, name_of(p.record.status), " before (--retry runs it again). ", p.record.reason, "\n");
    case StudyEvent::What::too_large:
      return concat(head, "has ", p.task.point->ranks,
                    " ranks, too many to be started here (run --predict predicts it, submit hands it to Slurm)\n");
    case StudyEvent::What::elsewhere:
      return concat(head, name_of(p.record.status), ", job ", p.record.job, "\n");
    case StudyEvent::What::ended:
      return concat(head, name_of(p.record.status), p.record.reason.empty() ? "" : ". ", p.record.reason, "\n");
  }
  return "";
}

std::string jobs_text(Study const& study, std::vector<Point> const& points, SubmitOptions const& options) {
  auto const arrays = arrays_of(study, tasks_to_submit(tasks_of(study, points, options.folder), options.retry));
  if (arrays.empty()) return "\nNothing to submit.\n";
  std::string text = "\nsubmit would hand to Slurm:\n";
  std::vector<std::string> jobs;
  for (JobArray const& array : arrays) {
    jobs.push_back(concat("<array ", jobs.size() + 1, ">"));
    std::string const list = concat(options.folder, "/jobs/", array.nodes, "-nodes-<n>.txt");
    text += concat("  ", shell_line(array_command(study, options, array, list)), "\n");
    for (Task const& task : array.tasks) text += concat("      ", task.point->name, " repeat ", task.repeat, "\n");
  }
  text += concat("  ", shell_line(collector_command(study, options, jobs)), "\n");
  std::string const script = options.slurm_folder + "/point.sbatch";
  return text + concat("\nEach element of an array runs ", script, ":\n", read_text_file(script, "job script"));
}

std::string submitted_text(Submitted const& s, std::string const& folder) {
  if (s.jobs.empty()) return concat("Nothing to submit. Records in ", folder, "\n");
  return concat(s.repeats, s.repeats == 1 ? " repeat" : " repeats", " submitted in ", s.jobs.size(),
                s.jobs.size() == 1 ? " job array (" : " job arrays (", join(s.jobs, ", "), "); job ", s.collector,
                " collects and reports when they have ended. Records in ", folder, "\n");
}

std::string prediction_text(Point const& point, RunResult const& run) {
  double bytes = 0;
  for (auto const& [label, size] : run.memory_bytes) bytes += size;
  auto const percent = [](double x) { return concat(static_cast<double>(std::lround(1000 * x)) / 10, " %"); };
  return concat(point.name, ": ", format_duration(run.step_seconds), " a step, MFU ", percent(run.mfu), ", HFU ",
                percent(run.hfu), ", ", format_bytes(bytes), " a rank",
                run.does_not_fit.empty() ? "" : concat(". ", run.does_not_fit), "\n");
}

std::string summary_text(RunSummary const& s, std::string const& folder) {
  return concat(s.done, " done now, ", s.kept, " done before, ", s.failed, " failed",
                s.too_large ? concat(", ", s.too_large, " too large for this machine") : "",
                s.elsewhere ? concat(", ", s.elsewhere, " in Slurm's hands") : "",
                s.interrupted ? "; interrupted, run again to go on" : "", ". Records in ", folder, "\n");
}

}  // namespace selenite::app
