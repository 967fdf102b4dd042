#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

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
  /// Measure the machine once for each number of ranks, and hold all points with machine.name = "auto" against that file
  /// (machine-<ranks>.toml in the study's folder): each run's own measurement would be a peak of its own.
  bool calibrate = false;
};

/// What the driver tells while it works.
struct Progress {
  enum class What : std::uint8_t { kept, adopted, started, ended };  ///< adopted: found finished, its driver had died
  What what = What::kept;
  Task const& task;
  PointRecord const& record;
  std::size_t index = 0, total = 0;
};

struct RunSummary {
  std::int64_t done = 0, kept = 0, failed = 0;  ///< kept: were done before; failed: now or before
  bool interrupted = false;
};

/// Runs what is not done. One driver a folder; safe to kill at any moment and to call again. `stop` as in run_here.
/// A repeat that fails is recorded and the next one begins; Error is thrown only if the study can't go on (another
/// driver, no room to write the records).
RunSummary run_study(Study const& study, std::vector<Point> const& points, DriverOptions const& options,
                     std::atomic<int> const& stop, std::function<void(Progress const&)> const& tell);

}  // namespace selenite
