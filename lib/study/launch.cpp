#include "study/launch.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <signal.h>
#include <unistd.h>

#include "core/error.hpp"
#include "core/text.hpp"
#include "study/child.hpp"

namespace selenite {
namespace {

using Clock = std::chrono::steady_clock;

/// The last lines of what a run printed, for the reason of its failure.
std::string last_lines(std::string const& file, std::size_t count) {
  std::ifstream in(file, std::ios::binary);
  in.seekg(0, std::ios::end);
  auto const size = static_cast<std::int64_t>(in.tellg());
  if (size <= 0) return "";
  std::string text(static_cast<std::size_t>(std::min<std::int64_t>(size, 4000)), '\0');
  in.seekg(-static_cast<std::int64_t>(text.size()), std::ios::end);
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  std::vector<std::string> lines;
  for (std::string const& line : split(text, '\n'))
    if (!trim(line).empty()) lines.emplace_back(trim(line));
  if (lines.size() > count) lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(count));
  return join(lines, " | ");
}

bool speaks_of_memory(std::string const& text) {
  for (std::string_view sign : {"out of memory", "Out of memory", "bad_alloc", "Cannot allocate memory", "oom-kill"})
    if (text.find(sign) != std::string::npos) return true;
  return false;
}

/// Why a run failed: its own record's error if it wrote one, else the end of what it printed.
std::string own_words(std::string const& folder) {
  try {
    RunResult const run = read_run(folder + "/run.json");
    if (!run.error.empty()) return run.error;
  } catch (Error const&) {
    // no record, or half of one: the log has to do
  }
  return last_lines(folder + "/output.log", 3);
}

/// Somebody told the program to end, whoever it was and whether we have heard of it yet: Slurm tells a job's ranks,
/// their launcher and us at once. It saved and stopped, or it had not begun.
bool was_told_to_end(Ended const& end, std::string const& folder) {
  if (end.signal == SIGTERM || end.exit_code == 128 + SIGTERM) return true;
  try {
    return end.signal == 0 && end.exit_code == 0 && read_run(folder + "/run.json").result == "stopped";
  } catch (Error const&) {
    return false;  // no record
  }
}

Outcome judge(Ended const& end, std::string const& folder) {
  Outcome outcome = outcome_of_records(folder);
  outcome.exit_code = end.signal ? -end.signal : end.exit_code;
  if (end.exit_code == 0 && end.signal == 0 && outcome.status == Status::done) return outcome;
  if (was_told_to_end(end, folder)) {
    outcome.status = Status::pending, outcome.reason = "It was told to end.";
    return outcome;
  }
  std::string const words = own_words(folder);
  std::string const how = end.signal ? concat("It was ended by signal ", end.signal, " (", strsignal(end.signal), ")")
                                     : concat("It ended with exit code ", end.exit_code);
  bool const killed = end.signal == SIGKILL || end.exit_code == 128 + SIGKILL;
  outcome.status = killed || speaks_of_memory(words) ? Status::oom : Status::failed;
  outcome.reason = concat(how, killed ? ", which is what the system does when memory runs out" : "",
                          end.exit_code == 0 && end.signal == 0 ? " but left no run record of a finished run" : "",
                          words.empty() ? "." : concat(": ", words));
  return outcome;
}

/// Asks the program to end, then kills it. Returns how it ended.
Ended end_child(Child& child, double grace_seconds, std::atomic<int> const& stop, int stop_now) {
  child.send_signal(SIGTERM);
  auto const limit = Clock::now() + std::chrono::duration<double>(grace_seconds);
  while (Clock::now() < limit && stop < stop_now)
    if (auto const end = child.wait_for(std::chrono::milliseconds(50))) return *end;
  child.send_signal(SIGKILL);
  while (true)
    if (auto const end = child.wait_for(std::chrono::hours(1))) return *end;
}

}  // namespace

std::vector<std::string> local_command(std::vector<std::string> const& program, std::int64_t ranks,
                                       std::int64_t cores) {
  std::vector<std::string> command;
  std::int64_t const threads = std::max<std::int64_t>(1, cores / ranks);
  if (ranks > 1) {
    command = {"mpirun", "-n", std::to_string(ranks), "--bind-to", "none"};
    if (ranks > cores) command.push_back("--oversubscribe");
    if (geteuid() == 0) command.push_back("--allow-run-as-root");
  }
  command.insert(command.end(), program.begin(), program.end());
  if (ranks > 1) command.insert(command.end(), {"--set", concat("run.threads=", threads)});
  return command;
}

Outcome run_here(ProgramLaunch const& launch, std::atomic<int> const& stop) {
  ChildOptions options;
  options.output = launch.folder + "/output.log";
  options.keep_descriptor = launch.keep_descriptor;
  // a launcher killed at once would leave its ranks to find out for themselves
  options.signal_if_we_die = launch.by_launcher ? SIGTERM : SIGKILL;
  auto const limit = Clock::now() + std::chrono::duration<double>(launch.timeout_seconds);
  std::optional<Child> child;
  try {
    child.emplace(launch.command, options);
  } catch (Error const& e) {
    return {Status::failed, e.what(), 127};
  }
  while (true) {
    if (auto const end = child->wait_for(std::chrono::milliseconds(50))) return judge(*end, launch.folder);
    if (stop > 0) {
      Ended const end = end_child(*child, launch.grace_seconds, stop, 2);
      Outcome outcome = judge(end, launch.folder);
      if (outcome.status != Status::done) outcome.status = Status::pending, outcome.reason = "It was interrupted.";
      return outcome;
    }
    if (launch.timeout_seconds > 0 && Clock::now() >= limit) {
      Ended const end = end_child(*child, launch.grace_seconds, stop, 2);
      Outcome outcome = judge(end, launch.folder);
      if (outcome.status != Status::done)
        outcome.status = Status::timeout,
        outcome.reason =
            concat("It had not ended after ", format_duration(launch.timeout_seconds), " (study.timeout_minutes).");
      return outcome;
    }
  }
}

Outcome outcome_of_records(std::string const& folder) {
  std::error_code error;
  if (!std::filesystem::exists(folder + "/run.json", error)) return {};
  try {
    if (read_run(folder + "/run.json").result == "finished") return {Status::done, "", 0};
  } catch (Error const&) {
    // half a record: the run did not finish
  }
  return {};
}

}  // namespace selenite
