#pragma once
#include <optional>

#include "data/batch.hpp"
#include "train/step.hpp"

namespace selenite {

/// The samples of a run by split, and how they become device batches.
class Batches {
 public:
  /// Opens what data.train, data.valid and data.test name, for a training of `config`.
  explicit Batches(Config const& config);
  bool has_valid() const { return valid_.has_value(); }
  /// Loads micro-batches of the step that starts at global sample `consumed`.
  LoadBatch training(StageState const& stage, std::int64_t consumed) const;
  /// Loads micro-batches of validation number `round`: every round takes the next valid_batches global batches.
  LoadBatch validation(StageState const& stage, std::int64_t round) const;

 private:
  std::optional<BatchSource> train_, valid_;
  std::int64_t valid_samples_ = 0;
};

/// Copies samples [first, first + batch.samples) into the batch; of those from `end` on no label counts.
void fill_batch(BatchSource const& source, std::int64_t first, Batch& batch, std::int64_t end = INT64_MAX);

/// The id of the end-of-document token of the config's tokenizer, or -1; -1 also without a tokenizer.
std::int32_t eod_of(DataConfig const& data);
BatchOptions batch_options(Config const& config);

}  // namespace selenite
