#pragma once
#include <filesystem>
#include <string>

#include "core/config.hpp"
#include "exec/ctx.hpp"
#include "plan/planned_schedule.hpp"

namespace selenite {

/// Records the first log.trace_steps steps of a run and writes them to log.trace for Chrome's viewer: a process a rank,
/// on it a thread a lane, on that steps, in them actions, in them work and messages. Does nothing if log.trace is
/// empty. Ranks of up to 64 come together in one file; more leave a file each, log.trace.rank<N>.
class Tracer {
 public:
  /// Makes the rank's file, so that a path that can't be written is found before the work. All ranks together, as for
  /// begin_step, end_step and finish.
  Tracer(Config const& config, Comm& comm, ProcessGrid const& grid);
  /// Times count from the first step's beginning, at which the ranks wait for each other.
  void begin_step(Ctx& ctx, std::int64_t step);
  /// Ends the action before. On a device actions and work are when the device does them, batches when the host does.
  void begin_action(Ctx& ctx, std::string const& name);
  void end_action(Ctx& ctx);
  /// Something that is no work of a Ctx, from `start` (by Ctx::now) until now.
  void add(std::string const& name, double start);
  /// The times of the step are known (Ctx::take_times).
  void end_step(Ctx& ctx);
  /// Writes what there is if the run ends before the last traced step.
  void finish();
  bool recording() const { return steps_left_ > 0; }

 private:
  void write();

  std::string path_;
  std::int64_t steps_left_ = 0;
  Comm& comm_;
  std::string who_;
  Timeline timeline_;
  double origin_ = 0, step_start_ = 0;
  bool in_action_ = false;
  bool const on_device_;
  std::string step_;
};

/// The planned step, for the same viewer: a thread a stage.
std::string trace_text(PlannedSchedule const& planned);

}  // namespace selenite
