// The side of whoever submits.
#include <algorithm>
#include <filesystem>
#include <map>

#include "core/error.hpp"
#include "core/files.hpp"
#include "core/text.hpp"
#include "io/record.hpp"
#include "study/slurm.hpp"

namespace selenite {
namespace {

namespace fs = std::filesystem;

/// Slurm's default MaxArraySize takes indices to 1000.
constexpr std::size_t longest_array = 1000;

std::vector<std::string> start_of_command(Study const& study, SubmitOptions const& options) {
  std::vector<std::string> command{options.slurm_folder + "/submit.sh", "--parsable"};
  if (!study.slurm.site.empty()) command.insert(command.end(), {"--site", study.slurm.site});
  return command;
}

/// Runs a command of submit.sh; returns the job's number.
std::string submit(std::vector<std::string> const& command) {
  Answer const answer = ask(command, 120);
  auto const lines = split(std::string(trim(answer.text)), '\n');
  std::string const last = lines.back(), number = last.substr(0, last.find(';'));
  bool const is_number = !number.empty() && number.find_first_not_of("0123456789") == std::string::npos;
  validate(answer.exit_code == 0 && is_number, "Slurm took no job (", join(command, " "), " ended with code ",
           answer.exit_code, " and said: ", trim(answer.text), "). Correct [slurm] in the study, or try again later.");
  return number;
}

/// A name that no earlier list has: lists are kept, since the arrays' elements read them when they start.
std::string new_list(std::string const& folder, std::int64_t nodes) {
  for (int k = 1;; ++k) {
    std::string const file = concat(folder, "/jobs/", nodes, "-nodes-", k, ".txt");
    if (!fs::exists(file)) return file;
  }
}

void write_list(std::string const& file, JobArray const& array) {
  std::string text;
  for (Task const& task : array.tasks) text += task.folder + "\n";
  write_file_atomically(file, text);
}

void set_state(Task const& task, Status status, std::string const& job, std::string const& reason) {
  PointRecord record = read_point_record(task.folder + "/point.json");
  // a job that was quick is already further on
  if (record.status != Status::submitted) return;
  record.status = status, record.job = job, record.reason = reason;
  write_point_record(task.folder + "/point.json", record);
}

}  // namespace

std::vector<JobArray> arrays_of(Study const& study, std::vector<Task> const& tasks) {
  std::map<std::int64_t, std::vector<Task>> by_nodes;
  std::int64_t const per_node = study.slurm.ranks_per_node;
  for (Task const& task : tasks) by_nodes[(task.point->ranks + per_node - 1) / per_node].push_back(task);
  std::vector<JobArray> arrays;
  for (auto const& [nodes, all] : by_nodes)
    for (std::size_t first = 0; first < all.size(); first += longest_array) {
      JobArray array{nodes, 1, {}};
      for (std::size_t i = first; i < std::min(all.size(), first + longest_array); ++i) {
        array.tasks.push_back(all[i]);
        array.ranks_per_node = std::max(array.ranks_per_node, std::min(per_node, all[i].point->ranks));
      }
      arrays.push_back(std::move(array));
    }
  return arrays;
}

std::vector<std::string> array_command(Study const& study, SubmitOptions const& options, JobArray const& array,
                                       std::string const& list) {
  SlurmSettings const& s = study.slurm;
  auto command = start_of_command(study, options);
  std::string const throttle = s.throttle ? concat("%", s.throttle) : "";
  command.insert(command.end(), {concat("--job-name=", study.name, "-", array.nodes, "n"),
                                 concat("--nodes=", array.nodes), concat("--ntasks-per-node=", array.ranks_per_node),
                                 concat("--time=", s.time), concat("--array=0-", array.tasks.size() - 1, throttle),
                                 concat("--output=", options.folder, "/jobs/%A_%a.out")});
  if (s.gpus_per_node) command.push_back(concat("--gpus-per-node=", s.gpus_per_node));
  command.insert(command.end(), s.options.begin(), s.options.end());
  command.insert(command.end(), {"point", list, format_double(study.timeout_minutes)});
  return command;
}

std::vector<std::string> collector_command(Study const& study, SubmitOptions const& options,
                                           std::vector<std::string> const& jobs) {
  auto command = start_of_command(study, options);
  command.insert(command.end(),
                 {concat("--job-name=", study.name, "-collect"), concat("--dependency=afterany:", join(jobs, ":")),
                  "--kill-on-invalid-dep=yes", concat("--output=", options.folder, "/jobs/collect-%j.out")});
  command.insert(command.end(), study.slurm.options.begin(), study.slurm.options.end());
  command.insert(command.end(), {"collect", fs::absolute(study.file).lexically_normal().string(), options.folder});
  return command;
}

std::vector<Task> tasks_to_submit(std::vector<Task> const& tasks, bool retry) {
  std::vector<Task> out;
  for (Task const& task : tasks) {
    PointRecord const record = state_of(task.folder);
    if (record.status == Status::pending || (retry && is_failure(record.status))) out.push_back(task);
  }
  return out;
}

Submitted submit_study(Study const& study, std::vector<Point> const& points, SubmitOptions const& given) {
  SubmitOptions options = given;
  options.folder = fs::absolute(given.folder).lexically_normal().string();
  FolderLock const lock = take_folder(study, options.folder, 0);
  make_folder(options.folder + "/jobs");
  auto const tasks = tasks_of(study, points, options.folder);
  settle(tasks);
  Submitted submitted;
  for (JobArray const& array : arrays_of(study, tasks_to_submit(tasks, options.retry))) {
    std::string const list = new_list(options.folder, array.nodes);
    write_list(list, array);
    for (Task const& task : array.tasks) {
      PointRecord record = begin_attempt(study, task, state_of(task.folder));
      record.status = Status::submitted, record.started = timestamp();
      write_point_record(task.folder + "/point.json", record);
    }
    try {
      submitted.jobs.push_back(submit(array_command(study, options, array, list)));
    } catch (Error const& e) {
      for (Task const& task : array.tasks) set_state(task, Status::pending, "", "Slurm did not take its job.");
      throw;
    }
    for (std::size_t i = 0; i < array.tasks.size(); ++i)
      set_state(array.tasks[i], Status::submitted, concat(submitted.jobs.back(), "_", i), "");
    submitted.repeats += static_cast<std::int64_t>(array.tasks.size());
  }
  if (!submitted.jobs.empty()) submitted.collector = submit(collector_command(study, options, submitted.jobs));
  return submitted;
}

}  // namespace selenite
