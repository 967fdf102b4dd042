#pragma once
#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "study/child.hpp"
#include "study/driver.hpp"
#include "study/launch.hpp"

namespace selenite {

/// What Slurm says of a job or an array's element. Gone: it does not know it (any more); unreachable: it did not
/// answer.
enum class JobState : std::uint8_t {
  queued,
  running,
  done,
  failed,
  timeout,
  oom,
  cancelled,
  node_fail,
  gone,
  unreachable
};

/// The state from squeue's or sacct's word ("RUNNING", "CANCELLED by 1000").
JobState job_state_from(std::string const& word);
/// Asks squeue, and sacct for jobs that have left the queue; once for all elements of an array.
class SlurmQueue {
 public:
  /// `job`: "123" or "123_4".
  JobState state(std::string const& job);

 private:
  std::map<std::string, Answer> queue_, past_;
};

/// Brings the records of submitted repeats up to date: one whose job has ended without saying how gets the state and
/// reason that Slurm gives. Does nothing, and asks nobody, where no record has a job.
void settle(std::vector<Task> const& tasks);

/// Repeats whose points take equally many nodes: one job array.
struct JobArray {
  std::int64_t nodes = 1, ranks_per_node = 1;
  std::vector<Task> tasks;
};
std::vector<JobArray> arrays_of(Study const& study, std::vector<Task> const& tasks);

/// Where things are that a job needs.
struct SubmitOptions {
  std::string folder;        ///< of the study
  std::string slurm_folder;  ///< of submit.sh and the templates
  bool retry = false;
};
/// The commands that submit one array, whose repeats the file `list` names, and the collector that depends on jobs.
std::vector<std::string> array_command(Study const& study, SubmitOptions const& options, JobArray const& array,
                                       std::string const& list);
std::vector<std::string> collector_command(Study const& study, SubmitOptions const& options,
                                           std::vector<std::string> const& jobs);

/// What would be submitted: repeats that are neither done, failed (unless `retry`) nor in Slurm's hands.
std::vector<Task> tasks_to_submit(std::vector<Task> const& tasks, bool retry);

struct Submitted {
  std::vector<std::string> jobs;  ///< numbers of the arrays
  std::string collector;
  std::int64_t repeats = 0;
};
/// Writes configs and records, and submits. A repeat is marked as submitted before Slurm gets it, and a job whose
/// repeat is done or taken does nothing, so that whatever is interrupted, nothing runs twice. Throws Error with what
/// sbatch said; repeats that did not get into the queue are pending again.
Submitted submit_study(Study const& study, std::vector<Point> const& points, SubmitOptions const& options);

/// Inside a job: runs the repeat whose config and record lie in `folder` by `launcher` ("srun --mpi=pmix"), and keeps
/// its record. `time_is_up`: a stop is the end of the job's time, not a wish.
PointRecord run_submitted(std::string const& folder, std::vector<std::string> const& launcher,
                          std::string const& program, double timeout_minutes, std::atomic<int> const& stop,
                          std::atomic<bool> const& time_is_up);

}  // namespace selenite
