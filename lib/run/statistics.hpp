#pragma once
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
  void add(std::int64_t step, StepResult const& result, double seconds, double data_seconds, Tally const& tally);
  void add_validation(double loss) { valid_loss_ = loss; }

  /// "step 120/500  loss 5.1234  grad 0.81  lr 1.0e-3  31.2 k tokens/s  ..."
  std::string line() const;
  /// The same, shorter, with the time that is left.
  std::string progress_line() const;
  JsonObject metrics() const;  ///< of the last step
  JsonObject summary() const;
  double mfu(double seconds) const;
  double hfu(double seconds) const;
  /// Median over the steps after the first three (all, if there are no more).
  double median_seconds() const;

 private:
  double peak_of_all() const;
  std::vector<double> steady() const;

  Config const& config_;
  Plan const& plan_;
  double peak_ = 0;
  std::int64_t step_ = 0;
  StepResult last_;
  std::vector<double> seconds_;
  double first_loss_ = 0, valid_loss_ = -1, data_seconds_ = 0, total_seconds_ = 0;
  Tally tally_;
};

/// Bytes of anonymous memory that this process holds (RssAnon); 0 if the system does not say.
std::int64_t resident_bytes();

}  // namespace selenite
