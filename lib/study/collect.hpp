#pragma once
#include <optional>
#include <string>
#include <vector>

#include "study/records.hpp"

namespace selenite {

/// What one repeat measured, without the steps that the study drops.
struct Figures {
  std::int64_t steps = 0;  ///< counted
  double step_seconds = unknown_number, step_seconds_min = unknown_number,
         step_seconds_max = unknown_number;  ///< the first is the median
  double tokens_per_second = unknown_number;
  double model_tflops_per_rank = unknown_number, hardware_tflops_per_rank = unknown_number, mfu = unknown_number,
         hfu = unknown_number;
  Numbers time_seconds;  ///< by cause, the mean; their sum is the mean step
};

struct RepeatResult {
  PointRecord record;
  std::optional<RunResult> run;
  Figures figures;
  std::vector<StepMetrics> steps;
};

struct PointResult {
  Point point;
  std::string label;  ///< short, for figures: "bf16 b=4"
  std::vector<RepeatResult> repeats;
  std::optional<RepeatResult> predicted;  ///< what predicted.json says; no record of steps

  /// The finished repeat whose step time is the median one (of two, the faster); null if none finished. All of a
  /// point's figures are those of this repeat, so that they belong together.
  RepeatResult const* typical() const;
  std::vector<RepeatResult const*> finished() const;
};

/// What a report shows of a point: its typical repeat, or what is predicted for it.
struct Shown {
  PointResult const* point;
  RepeatResult const* figures;
  bool is_predicted;
};
inline double ranks_of(Shown const& s) { return static_cast<double>(s.point->point.ranks); }

struct StudyResult {
  Study study;
  std::string folder;
  std::vector<PointResult> points;

  std::vector<PointResult const*> measured() const;
  /// Every point that has figures, measured ones before predicted ones; none that its machine has no room for.
  std::vector<Shown> shown() const;
};

/// Reads all records of a study. What can't be read is a failed repeat with its reason; nothing is left out.
StudyResult collect(Study const& study, std::string const& folder);

/// Figures of a run, recomputed from its steps after the first `drop`.
Figures figures_of(RunResult const& run, std::vector<StepMetrics> const& steps, std::int64_t drop,
                   double tokens_per_step);

/// A point in a few letters by its values on the axes, without those of `left_out`. Of a [[zip]] whose first key says
/// which row it is, only that key is named.
std::string label_without(Study const& study, Point const& point, std::vector<std::string> const& left_out);

/// The keys that go together with `key`, by a [[zip]]; the key alone if there are no others.
std::vector<std::string> keys_beside(Study const& study, std::string const& key);
/// The keys that make the number of ranks: ranks itself, or what its expression names, with those that go together
/// with them.
std::vector<std::string> keys_of_ranks(Study const& study);

/// The letter or word that stands for a key in figures ("b" for train.micro_batch); empty where the value says enough.
std::string short_key(std::string const& key);

}  // namespace selenite
