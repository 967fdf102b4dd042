#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "data/gpt_dataset_index.hpp"
#include "data/indexed.hpp"

namespace selenite {

/// Samples for a GPT from one split of one corpus. Const calls may come from many threads.
class GptDataset {
 public:
  GptDataset(std::shared_ptr<IndexedDataset const> corpus, ElementRange range, SampleRequest const& request,
             std::filesystem::path const& cache);

  std::int64_t size() const { return index_.plan.samples; }
  std::int32_t sequence_length() const { return sequence_length_; }
  GptDatasetIndex const& index() const { return index_; }

  /// Copies sample k into `tokens` [sequence_length + 1] and puts into `parts` where each sequence (part of a document)
  /// begins in it, the first 0. Gives the number of tokens; fewer than asked for only in a shorter last sample.
  std::int64_t sample(std::int64_t k, std::span<std::int32_t> tokens, std::vector<std::int32_t>& parts) const;

  /// Where a token of a sample comes from, for messages.
  struct Place {
    std::filesystem::path file;
    std::int64_t document = 0;
    std::int64_t position = 0;  // in the document
  };
  Place locate(std::int64_t k, std::int64_t token) const;

 private:
  /// Calls visit(sequence, first token, tokens) for each non-empty piece of sample k, in order.
  template <class Visit>
  void walk(std::int64_t k, Visit const& visit) const;
  std::shared_ptr<IndexedDataset const> corpus_;
  std::int32_t sequence_length_;
  GptDatasetIndex index_;
};

}  // namespace selenite
