#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "study/points.hpp"

namespace selenite {

/// Submitted: Slurm has it in its queue.
enum class Status : std::uint8_t { pending, submitted, running, done, failed, timeout, oom };
std::string_view name_of(Status status);
/// Failed, timed out or out of memory: it keeps its reason and runs again only when asked for.
bool is_failure(Status status);

/// How one earlier try of a repeat ended; its files lie in attempt-<n>/.
struct Attempt {
  Status status = Status::failed;
  std::string reason, started, ended;
};

/// point.json: what the driver knows of one repeat of one point.
struct PointRecord {
  std::string study, id, name;
  std::int64_t repeat = 1, ranks = 1;
  std::vector<Setting> varied;
  Status status = Status::pending;
  std::string reason;          ///< why it is not done
  std::string started, ended;  ///< UTC, ISO 8601
  std::string host;
  std::string job, nodes;  ///< of Slurm: "123_4" and "node[1-2]"; empty: started by the driver here
  std::vector<std::string> command;
  std::int64_t exit_code = 0;  ///< -signal if a signal ended it
  std::vector<Attempt> attempts;
};

using Numbers = std::vector<std::pair<std::string, double>>;
constexpr double unknown_number = std::numeric_limits<double>::quiet_NaN();

/// run.json, as selenite-pretrain writes it, or predicted.json, which has the same form; numbers that are not there are
/// NaN.
struct RunResult {
  std::string program, version, commit, libraries, processor, host, result, error, flops_convention, started, ended;
  std::string machine;       ///< whose figures a prediction is made with
  std::string does_not_fit;  ///< of a prediction: why the machine has no room for it, or empty
  std::int64_t ranks = 1;
  double steps = unknown_number, step_seconds = unknown_number, step_seconds_min = unknown_number,
         step_seconds_max = unknown_number;
  double tokens_per_second = unknown_number, model_tflops_per_rank = unknown_number,
         hardware_tflops_per_rank = unknown_number;
  double mfu = unknown_number, hfu = unknown_number, peak_tflops = unknown_number;  ///< mfu, hfu: fractions of the peak
  double predicted_step_seconds = unknown_number, parameters = unknown_number, resident_bytes = unknown_number;
  double memory_limit = unknown_number;  ///< of a prediction: bytes that a rank has
  double loss_first = unknown_number, loss_last = unknown_number, valid_loss = unknown_number;
  /// By label, in the order of the record. time_seconds is the run's own choice of steps; Figures has the study's.
  Numbers memory_bytes, time_seconds, predicted_time_seconds;
};

/// One line of metrics.jsonl.
struct StepMetrics {
  std::int64_t step = 0;
  double loss = unknown_number, step_seconds = unknown_number, tokens_per_second = unknown_number;
  double data_seconds = 0;
  std::int64_t timed_step = 0;  ///< the step that time_seconds is of: on a device an earlier one
  Numbers time_seconds;         ///< by cause, if known
};

/// Throw Error that names the file and says what is wrong with it.
PointRecord read_point_record(std::string const& file);
RunResult read_run(std::string const& file);
/// A last line that was cut by a kill is left out; any other bad line is an error.
std::vector<StepMetrics> read_metrics(std::string const& file);
void write_point_record(std::string const& file, PointRecord const& record);

/// The state of a repeat's folder: its point.json, where "done" is believed only with a whole run.json and
/// metrics.jsonl of a finished run, and a record that can't be read is a failure with the reason. No folder: pending.
PointRecord state_of(std::string const& repeat_folder);

}  // namespace selenite
