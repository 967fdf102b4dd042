#include "study/driver.hpp"

#include <filesystem>

#include "core/error.hpp"
#include "core/files.hpp"
#include "core/toml.hpp"
#include "io/record.hpp"
#include "study/launch.hpp"
#include "study/lock.hpp"
#include "study/slurm.hpp"

namespace selenite {
namespace {

namespace fs = std::filesystem;

/// More processes than this for each core only wait for each other.
constexpr std::int64_t most_ranks_a_core = 16;

/// Moves the files of an earlier try into a folder: nothing is deleted, and the new try starts in a clean one.
void move_aside(fs::path const& folder, fs::path const& aside) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::string const name = it->path().filename().string();
    bool const stays = name == "point.json" || name == "config.toml" || name == "driver.lock";
    if (!stays && !name.starts_with("attempt-")) files.push_back(it->path());
  }
  if (files.empty()) return;
  make_folder(aside);
  for (fs::path const& file : files) {
    fs::rename(file, aside / file.filename(), error);
    validate(!error, "Can't move ", file.string(), " aside (", error.message(),
             "). Check the permissions of the folder.");
  }
}

/// The point's config with the repeat's folder, as the program will read it.
void write_config(Task const& task) {
  Config config = task.point->config;
  config.run.folder = task.folder;
  write_file_atomically(task.folder + "/config.toml",
                        concat("# ", task.point->name, ", repeat ", task.repeat, "\n", to_toml(config)));
}

class Driver {
 public:
  Driver(Study const& study, DriverOptions const& options, std::atomic<int> const& stop,
         std::function<void(StudyEvent const&)> const& tell, FolderLock const& lock, std::size_t total)
      : study_(study), options_(options), stop_(stop), tell_(tell), lock_(lock), total_(total) {}

  void handle(Task const& task, std::size_t index) {
    index_ = index;
    PointRecord record = state_of(task.folder);
    if (record.status == Status::running &&
        record.job.empty()) {  // its driver died: we hold the lock, so nobody watches it
      Outcome const outcome = outcome_of_records(task.folder);
      if (outcome.status == Status::done) return adopt(task, std::move(record));
      record.status = Status::pending, record.reason = "Its driver was killed.";
    }
    if (record.status == Status::done) {
      ++summary.kept;
      return say(StudyEvent::What::kept, task, record);
    }
    if (is_failure(record.status) && !options_.retry) {
      ++summary.failed;
      return say(StudyEvent::What::kept, task, record);
    }
    if (record.status == Status::submitted || (record.status == Status::running && !record.job.empty())) {
      ++summary.elsewhere;
      return say(StudyEvent::What::elsewhere, task, record);
    }
    if (task.point->ranks > most_ranks_a_core * machine_info().cores) {
      ++summary.too_large;
      return say(StudyEvent::What::too_large, task, record);
    }
    start(task, record);
  }

  RunSummary summary;

 private:
  void say(StudyEvent::What what, Task const& task, PointRecord const& record) {
    tell_({what, task, record, index_, total_});
  }

  void adopt(Task const& task, PointRecord record) {
    record.status = Status::done, record.reason.clear();
    record.ended = read_run(task.folder + "/run.json").ended;
    write_point_record(task.folder + "/point.json", record);
    ++summary.kept;
    say(StudyEvent::What::adopted, task, record);
  }

  static std::string config_of(Task const& task) { return task.folder + "/config.toml"; }
  static std::vector<std::string> command_of(Task const& task, std::vector<std::string> const& program) {
    return local_command(program, task.point->ranks, machine_info().cores);
  }

  /// Adds the study's machine file to the command, measuring it first if need be. If that fails the run measures for
  /// itself.
  void use_machine_file(Task const& task, ProgramLaunch& launch) {
    if (options_.calibrator.empty() || task.point->config.machine.name != "auto") return;
    std::string const file = machine_file(options_.folder, task.point->ranks);
    if (!fs::exists(file)) {
      ProgramLaunch measure = launch;
      measure.command = command_of(task, {options_.calibrator, "calibrate", file, "--config", config_of(task)});
      run_here(measure, stop_);
    }
    if (fs::exists(file)) launch.command.insert(launch.command.end(), {"--set", "machine.name=" + file});
  }

  void start(Task const& task, PointRecord const& before) {
    std::string const file = task.folder + "/point.json";
    PointRecord record = begin_attempt(study_, task, before);
    ProgramLaunch launch;
    launch.folder = task.folder;
    launch.command = command_of(task, {options_.program, config_of(task)});
    launch.timeout_seconds = study_.timeout_minutes * 60;
    launch.grace_seconds = options_.grace_seconds;
    launch.keep_descriptor = lock_.descriptor();
    launch.by_launcher = task.point->ranks > 1;
    use_machine_file(task, launch);
    record.status = Status::running, record.started = timestamp(), record.command = launch.command;
    write_point_record(file, record);
    say(StudyEvent::What::started, task, record);

    Outcome const outcome = run_here(launch, stop_);
    record.status = outcome.status, record.reason = outcome.reason, record.exit_code = outcome.exit_code;
    record.ended = timestamp();
    write_point_record(file, record);
    if (record.status == Status::done) ++summary.done;
    if (is_failure(record.status)) ++summary.failed;
    if (record.status == Status::pending) summary.interrupted = true;
    say(StudyEvent::What::ended, task, record);
  }

  Study const& study_;
  DriverOptions const& options_;
  std::atomic<int> const& stop_;
  std::function<void(StudyEvent const&)> const& tell_;
  FolderLock const& lock_;
  std::size_t index_ = 0, total_ = 0;
};

}  // namespace

std::string repeat_folder(std::string const& study_folder, Point const& point, std::int64_t repeat) {
  return concat(study_folder, "/", point.folder_name(), "/repeat-", repeat);
}

std::vector<Task> tasks_of(Study const& study, std::vector<Point> const& points, std::string const& folder) {
  std::vector<Task> tasks;
  for (std::int64_t repeat = 1; repeat <= study.repeats; ++repeat)
    for (Point const& point : points)
      if (point.infeasible.empty()) tasks.push_back({&point, repeat, repeat_folder(folder, point, repeat)});
  return tasks;
}

std::string machine_file(std::string const& study_folder, std::int64_t ranks) {
  return concat(study_folder, "/machine-", ranks, ".toml");
}

void put_aside(PointRecord& record, std::string const& folder, PointRecord const& before) {
  if (before.id.empty() && before.reason.empty()) return;
  auto const aside = [&] { return fs::path(folder) / concat("attempt-", record.attempts.size() + 1); };
  // a record that was lost or damaged knew of tries whose files are still there
  for (std::error_code error; fs::exists(aside(), error);)
    record.attempts.push_back({Status::failed, "Its record was lost.", "", ""});
  move_aside(folder, aside());
  record.attempts.push_back({before.status, before.reason, before.started, before.ended});
}

PointRecord begin_attempt(Study const& study, Task const& task, PointRecord const& before) {
  make_folder(task.folder);
  PointRecord r;
  r.study = study.name, r.id = task.point->id, r.name = task.point->name;
  r.repeat = task.repeat, r.ranks = task.point->ranks, r.varied = task.point->varied;
  r.attempts = before.attempts;
  r.host = machine_info().host;
  put_aside(r, task.folder, before);
  write_config(task);
  return r;
}

FolderLock take_folder(Study const& study, std::string const& folder, double patience_seconds) {
  make_folder(folder);
  FolderLock lock(folder, patience_seconds);
  write_file_atomically(folder + "/study.toml", read_text_file(study.file, "study"));
  return lock;
}

RunSummary run_study(Study const& study, std::vector<Point> const& points, DriverOptions const& options,
                     std::atomic<int> const& stop, std::function<void(StudyEvent const&)> const& tell) {
  std::string const folder = fs::absolute(options.folder).lexically_normal().string();
  FolderLock const lock = take_folder(study, folder, options.grace_seconds + 30);
  auto const tasks = tasks_of(study, points, folder);
  settle(tasks);
  Driver driver(study, options, stop, tell, lock, tasks.size());
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (stop > 0) {
      driver.summary.interrupted = true;
      break;
    }
    driver.handle(tasks[i], i + 1);
  }
  if (stop > 0) driver.summary.interrupted = true;
  return driver.summary;
}

}  // namespace selenite
