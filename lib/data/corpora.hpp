#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/blend.hpp"
#include "data/gpt_dataset.hpp"
#include "data/splits.hpp"

namespace selenite {

/// Which corpora a run reads. `valid` and `test` empty: `train` is cut by `split`; else each list is used whole.
struct CorpusSpec {
  std::vector<std::string> train, valid, test;  // ["prefix"] or ["weight", "prefix", ...]
  std::string split = "969,30,1";
  std::filesystem::path cache;      // folder of the index files; empty: indices are held in memory
  bool keep_partial_valid = false;  // validation also uses the shorter last sample
};

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

/// Opens what `spec` names for the splits of which samples are wanted (0 opens nothing); a split without corpora or
/// share is empty. Every rank may call it on its own.
std::array<std::optional<GptSamples>, 3> open_corpora(CorpusSpec const& spec, SampleCounts const& samples,
                                                      std::int32_t sequence_length, std::uint32_t seed);

}  // namespace selenite
