// Asking Slurm, and the side of a job.
#include "study/slurm.hpp"

#include <array>
#include <cstdlib>
#include <filesystem>

#include "core/error.hpp"
#include "core/text.hpp"
#include "io/record.hpp"

namespace selenite {
namespace {

/// The word after `job` at the start of a line of "123_4 RUNNING" or "123_4|RUNNING|" lines; empty if it is not there.
std::string word_for(std::string const& text, std::string const& job, char separator) {
  for (std::string const& line : split(text, '\n'))
    if (line.starts_with(job + separator)) return std::string(trim(line.substr(job.size() + 1)));
  return "";
}

/// What a job that ended without a word left of the repeat.
void end_record(PointRecord& record, std::string const& folder, JobState state) {
  Outcome const left = outcome_of_records(folder);
  if (left.status == Status::done) {
    record.status = Status::done, record.reason.clear();
    return;
  }
  std::string const job = "job " + record.job;
  switch (state) {
    case JobState::timeout:
      record.status = Status::timeout, record.reason = concat("Slurm ended ", job, " at its time limit (slurm.time).");
      break;
    case JobState::oom:
      record.status = Status::oom, record.reason = concat("Slurm ended ", job, " because memory ran out.");
      break;
    case JobState::cancelled:
      record.status = Status::pending, record.reason = concat("Its ", job, " was cancelled.");
      break;
    case JobState::node_fail:
      record.status = Status::failed, record.reason = concat("A node of ", job, " failed.");
      break;
    case JobState::gone:
      record.status = Status::failed,
      record.reason = concat("Slurm no longer knows its ", job, ", which left no record of a finished run.");
      break;
    default:
      record.status = Status::failed,
      record.reason = concat("Its ", job, " ended and left no record of a finished run.");
  }
  record.ended = timestamp();
}

bool has_ended(JobState state) {
  return state != JobState::queued && state != JobState::running && state != JobState::unreachable;
}

bool in_slurms_hands(PointRecord const& record) {
  return record.status == Status::submitted || (record.status == Status::running && !record.job.empty());
}

std::string environment(char const* name) {
  char const* const text = std::getenv(name);
  return text ? text : "";
}

}  // namespace

JobState job_state_from(std::string const& word) {
  std::string const name = word.substr(0, word.find_first_of(" +|"));
  static constexpr std::array<std::pair<std::string_view, JobState>, 12> known{{{"PENDING", JobState::queued},
                                                                                {"REQUEUED", JobState::queued},
                                                                                {"REQUEUE_HOLD", JobState::queued},
                                                                                {"SUSPENDED", JobState::queued},
                                                                                {"COMPLETED", JobState::done},
                                                                                {"TIMEOUT", JobState::timeout},
                                                                                {"DEADLINE", JobState::timeout},
                                                                                {"OUT_OF_MEMORY", JobState::oom},
                                                                                {"CANCELLED", JobState::cancelled},
                                                                                {"PREEMPTED", JobState::cancelled},
                                                                                {"NODE_FAIL", JobState::node_fail},
                                                                                {"BOOT_FAIL", JobState::node_fail}}};
  for (auto const& [text, state] : known)
    if (text == name) return state;
  // RUNNING, CONFIGURING, COMPLETING, STAGE_OUT, ...: it is on its nodes
  return name == "FAILED" ? JobState::failed : JobState::running;
}

JobState SlurmQueue::state(std::string const& job) {
  std::string const number = job.substr(0, job.find('_'));
  if (number.empty() || job.find_first_not_of("0123456789_") != std::string::npos) return JobState::gone;
  if (!queue_.contains(number)) queue_[number] = ask({"squeue", "-h", "-r", "-t", "all", "-j", number, "-o", "%i %T"});
  Answer const& queue = queue_[number];
  bool const purged = queue.text.find("Invalid job id") != std::string::npos;
  if (queue.exit_code != 0 && !purged) return JobState::unreachable;
  if (std::string const word = word_for(queue.text, job, ' '); !word.empty()) return job_state_from(word);
  if (!past_.contains(number))
    past_[number] = ask({"sacct", "-n", "-X", "-P", "--array", "-j", number, "-o", "JobID,State"});
  Answer const& past = past_[number];
  std::string const word = past.exit_code == 0 ? word_for(past.text, job, '|') : "";
  return word.empty() ? JobState::gone : job_state_from(word);
}

void settle(std::vector<Task> const& tasks) {
  SlurmQueue queue;
  for (Task const& task : tasks) {
    PointRecord const before = state_of(task.folder);
    if (!in_slurms_hands(before)) continue;
    JobState const state = before.job.empty() ? JobState::gone : queue.state(before.job);
    if (!has_ended(state)) continue;
    PointRecord record = state_of(task.folder);  // the job may have written it just before it ended
    if (!in_slurms_hands(record) || record.job != before.job) continue;
    if (record.job.empty())
      record.status = Status::pending, record.reason = "Its submission was interrupted.";
    else
      end_record(record, task.folder, state);
    write_point_record(task.folder + "/point.json", record);
  }
}

PointRecord run_submitted(std::string const& folder, std::vector<std::string> const& launcher,
                          std::string const& program, double timeout_minutes, std::atomic<int> const& stop,
                          std::atomic<bool> const& time_is_up) {
  FolderLock const lock(folder, 0);
  std::string const file = folder + "/point.json";
  PointRecord record = read_point_record(file);
  if (record.status == Status::done) return record;
  if (record.status == Status::running) {  // Slurm starts the job again after its node failed
    if (outcome_of_records(folder).status == Status::done) {
      record.status = Status::done, record.reason.clear(), record.ended = timestamp();
      write_point_record(file, record);
      return record;
    }
    PointRecord before = record;
    before.reason = concat("Job ", before.job, " was started again.");
    put_aside(record, folder, before);
  }
  std::string const array = environment("SLURM_ARRAY_JOB_ID");
  record.job = array.empty() ? environment("SLURM_JOB_ID") : concat(array, "_", environment("SLURM_ARRAY_TASK_ID"));
  record.nodes = environment("SLURM_JOB_NODELIST");
  record.host = machine_info().host;
  ProgramLaunch launch;
  launch.folder = folder;
  launch.command = launcher;
  launch.by_launcher = !launcher.empty();
  if (!launcher.empty()) launch.command.insert(launch.command.end(), {"-n", std::to_string(record.ranks)});
  launch.command.insert(launch.command.end(), {program, folder + "/config.toml"});
  launch.timeout_seconds = timeout_minutes * 60;
  launch.keep_descriptor = lock.descriptor();
  record.status = Status::running, record.reason.clear(), record.started = timestamp(), record.ended.clear();
  record.command = launch.command;
  write_point_record(file, record);

  Outcome outcome = run_here(launch, stop);
  if (outcome.status == Status::pending)
    outcome = time_is_up
                  ? Outcome{Status::timeout, "The time limit of its job came (slurm.time).", outcome.exit_code}
                  : Outcome{Status::pending, concat("Its job ", record.job, " was cancelled."), outcome.exit_code};
  record.status = outcome.status, record.reason = outcome.reason, record.exit_code = outcome.exit_code;
  record.ended = timestamp();
  write_point_record(file, record);
  return record;
}

}  // namespace selenite
