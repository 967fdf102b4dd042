#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/config.hpp"
#include "data/blend.hpp"
#include "data/gpt_dataset.hpp"
#include "data/splits.hpp"

namespace selenite {

/// How many samples are wanted of train, valid and test; none: what one epoch gives.
using SampleCounts = std::array<std::optional<std::int64_t>, 3>;

/// The samples of one split: one dataset, or several blended. Sample k is the same on every rank and in every layout.
class GptSamples {
 public:
  explicit GptSamples(GptDataset dataset);
  GptSamples(std::vector<GptDataset> datasets, BlendIndex index);

  /// At least as many as were asked for.
  std::int64_t size() const { return size_; }
  std::int32_t sequence_length() const { return datasets_.front().sequence_length(); }
  std::vector<GptDataset> const& datasets() const { return datasets_; }
  /// As GptDataset's.
  std::int64_t sample(std::int64_t k, std::span<std::int32_t> tokens, std::vector<std::int32_t>& parts) const;
  GptDataset::Place locate(std::int64_t k, std::int64_t token) const;

 private:
  struct Source {
    GptDataset const& dataset;
    std::int64_t k;
  };
  Source source(std::int64_t k) const;
  std::vector<GptDataset> datasets_;
  BlendIndex index_;  // empty for a single dataset
  std::int64_t size_;
};

/// Opens what data.train, data.valid and data.test name, for the splits of which samples are wanted (0 opens nothing).
/// With no valid and no test list, train's corpora are cut by data.split; else each list is used whole. A split without
/// corpora or share is empty. Index files go to data.cache; without one the indices are held in memory. `evaluate`: no
/// corpus is repeated, whatever is wanted, but in a weighted blend, which has no end and must be told how many samples;
/// validation and test also use the shorter sample at the end, the rest of which is not counted. Every rank may call it
/// on its own.
std::array<std::optional<GptSamples>, 3> open_corpora(DataConfig const& data, SampleCounts const& samples,
                                                      std::int32_t sequence_length, std::uint32_t seed,
                                                      bool evaluate = false);

}  // namespace selenite
