#pragma once
#include <optional>
#include <string>
#include <vector>

#include "io/json.hpp"
#include "plan/plan.hpp"
#include "train/optimizer.hpp"

namespace selenite {

/// Figures of a run: what each step took, and how fast that is against plan and peak.
class Statistics {
 public:
  Statistics(Config const& config, Plan const& plan, Machine const& machine);
  /// `after`: where the training stands after the step, which took `batch` samples.
  void add(Progress const& after, std::int64_t batch, StepResult const& result, double seconds, double data_seconds);
  /// What a step took by cause, after it was added; on a device, of some steps, and known later.
  void add_times(std::int64_t step, CauseSeconds const& seconds);
  void add_validation(double loss) { valid_loss_ = loss; }

  /// "step 120/500  loss 5.1234  grad 0.81  lr 1.0e-3  31.2 k tokens/s  ..."
  std::string line() const;
  /// The same, shorter, with the time that is left.
  std::string progress_line() const;
  JsonObject metrics() const;  ///< of the last step
  JsonObject summary() const;
  /// Of a step with the batch of the last.
  double mfu(double seconds) const;
  double hfu(double seconds) const;
  /// Median over the steps after the first three (all, if there are no more) that had the batch of the last.
  double median_seconds() const;

 private:
  double peak_of_all() const;
  std::string causes() const;
  /// The last step's batch as a part of the plan's, which is train.global_batch.
  double share() const {
    return static_cast<double>(steps_.back().batch) / static_cast<double>(config_.train.global_batch);
  }
  double tokens() const { return static_cast<double>(steps_.back().batch * config_.model.sequence_length); }
  std::vector<double> steady() const;

  Config const& config_;
  Plan const& plan_;
  double peak_ = 0;
  struct Step {
    double seconds = 0;
    std::int64_t batch = 0;
  };
  Progress at_;
  StepResult last_;
  std::vector<Step> steps_;
  double first_loss_ = 0, valid_loss_ = -1, data_seconds_ = 0;  ///< the last: of the last step
  struct Timed {
    std::int64_t step = 0;
    CauseSeconds seconds{};
  };
  std::optional<Timed> last_timed_;
  /// Of the steps that steady() counts.
  struct Sums {
    std::int64_t first = 0;  ///< step
    double steps = 0, seconds = 0, data_seconds = 0;
    double timed = 0;  ///< steps whose causes are known
    CauseSeconds causes{};
  } sums_;
};

/// Bytes of anonymous memory that this process holds (RssAnon); 0 if the system does not say.
std::int64_t resident_bytes();

}  // namespace selenite
