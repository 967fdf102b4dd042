#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "study/lock.hpp"
#include "study/points.hpp"
#include "study/records.hpp"

namespace selenite {

/// One repeat of one point: the unit of work.
struct Task {
  Point const* point = nullptr;
  std::int64_t repeat = 1;
  std::string folder;
};
/// Where a repeat of a point has its records.
std::string repeat_folder(std::string const& study_folder, Point const& point, std::int64_t repeat);
/// All of a study (tasks point into `points`), first repeats first, so that a slow hour of the machine does not fall on
/// one point alone.
std::vector<Task> tasks_of(Study const& study, std::vector<Point> const& points, std::string const& folder);
std::vector<Task> tasks_of(Study const& study, std::vector<Point>&& points, std::string const& folder) = delete;

struct DriverOptions {
  std::string folder;   ///< of the study; made if it is not there
  std::string program;  ///< selenite-pretrain
  bool retry = false;   ///< run failed, timed-out and out-of-memory repeats again
  double grace_seconds = 30;
  /// selenite-sweep, to measure the machine with once for each number of ranks: all points with machine.name = "auto"
  /// are held against that file (machine-<ranks>.toml in the study's folder), since each run's own measurement would be
  /// a peak of its own. Empty: each measures for itself.
  std::string calibrator;
};

/// The machine as it was measured for points of so many ranks.
std::string machine_file(std::string const& study_folder, std::int64_t ranks);

/// What the driver tells while it works. Adopted: found finished, its driver had died. Too large: has more ranks than
/// can be started here. Elsewhere: Slurm has it.
struct StudyEvent {
  enum class What : std::uint8_t { kept, adopted, started, ended, too_large, elsewhere };
  What what = What::kept;
  Task const& task;
  PointRecord const& record;
  std::size_t index = 0, total = 0;
};

struct RunSummary {
  std::int64_t done = 0, kept = 0, failed = 0;  ///< kept: were done before; failed: now or before
  std::int64_t too_large = 0, elsewhere = 0;    ///< as in StudyEvent: not run
  bool interrupted = false;
};

/// Runs what is not done. One driver a folder; safe to kill at any moment and to call again. `stop` as in run_here.
/// A repeat that fails is recorded and the next one begins; Error is thrown only if the study can't go on (another
/// driver, no room to write the records).
RunSummary run_study(Study const& study, std::vector<Point> const& points, DriverOptions const& options,
                     std::atomic<int> const& stop, std::function<void(StudyEvent const&)> const& tell);

/// Takes the study's folder for one driver: makes it, locks it, and writes a copy of the study into it.
FolderLock take_folder(Study const& study, std::string const& folder, double patience_seconds);

/// A record for the next try of a repeat, whose folder is made clean: what an earlier try left is put aside, its state
/// kept among the attempts, and the resolved config is written.
PointRecord begin_attempt(Study const& study, Task const& task, PointRecord const& before);
/// The same for whoever has the repeat's folder and its config already.
void put_aside(PointRecord& record, std::string const& folder, PointRecord const& before);

}  // namespace selenite
