#include "apps/sweep/print.hpp"

#include <algorithm>
#include <map>

#include "core/error.hpp"
#include "core/text.hpp"

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
    if (record.status == Status::running)
      reasons += concat("  ", task.point->name, " repeat ", task.repeat, ": running since ", record.started, " on ",
                        record.host, "\n");
  }
  std::vector<std::string> parts;
  for (auto const& [status, n] : count) parts.push_back(concat(n, " ", name_of(status)));
  if (auto const n = count_infeasible(points)) parts.push_back(concat(n, " infeasible"));
  return concat("Study ", study.name, " in ", folder, ": ", join(parts, ", "), "\n", reasons);
}

std::string progress_text(Progress const& p) {
  std::string const head = concat("[", p.index, "/", p.total, "] ", p.task.point->name,
                                  p.task.repeat > 1 ? concat(" repeat ", p.task.repeat) : "", ": ");
  switch (p.what) {
    case Progress::What::started:
      return head + "started\n";
    case Progress::What::adopted:
      return head + "had finished after its driver was killed\n";
    case Progress::What::kept:
      return p.record.status == Status::done
                 ? ""
                 : concat(head, name_of(p.record.status), " before (--retry runs it again). ", p.record.reason, "\n");
    case Progress::What::ended:
      return concat(head, name_of(p.record.status), p.record.reason.empty() ? "" : ". ", p.record.reason, "\n");
  }
  return "";
}

std::string summary_text(RunSummary const& s, std::string const& folder) {
  return concat(s.done, " done now, ", s.kept, " done before, ", s.failed, " failed",
                s.interrupted ? "; interrupted, run again to go on" : "", ". Records in ", folder, "\n");
}

}  // namespace selenite::app
