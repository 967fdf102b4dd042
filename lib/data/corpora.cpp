#include "data/corpora.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "core/error.hpp"

namespace selenite {
namespace {

/// What the datasets of one split have in common.
struct SplitRequest {
  Split split;
  std::array<double, 2> fractions;
  SampleRequest request;
  std::filesystem::path cache;
  bool whole;  // the corpora are of this split alone
  bool once;   // an epoch at most
};

/// Corpora by prefix, so that those used by several splits are mapped and checked once.
class OpenCorpora {
 public:
  std::shared_ptr<IndexedDataset const> open(std::filesystem::path const& prefix) {
    auto& corpus = corpora_[prefix];
    if (!corpus) corpus = std::make_shared<IndexedDataset>(prefix);
    return corpus;
  }

 private:
  std::map<std::filesystem::path, std::shared_ptr<IndexedDataset const>> corpora_;
};

GptDataset open_dataset(OpenCorpora& corpora, std::filesystem::path const& prefix, SplitRequest const& split,
                        std::optional<std::int64_t> samples) {
  auto corpus = corpora.open(prefix);
  auto const range = split_range(split.fractions, corpus->sequences());
  SampleRequest request = split.request;
  request.samples = samples;
  try {
    return {std::move(corpus), range, request, split.cache};
  } catch (Error const& error) {
    throw Error(
        concat("Cannot prepare the ", name(split.split), " samples of '", prefix.string(), "': ", error.what()));
  }
}

GptSamples open_weighted(OpenCorpora& corpora, Blend const& blend, SplitRequest const& split) {
  validate(split.request.samples.has_value(), "The ", name(split.split),
           " split is a weighted blend, which has no end ",
           "(weights say how often, not how much). Say by --samples how many samples are wanted.");
  auto const weights = normalize_weights(blend.weights);
  std::vector<GptDataset> datasets;
  std::vector<std::int64_t> available;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    datasets.push_back(
        open_dataset(corpora, blend.prefixes[i], split, prepared_samples(*split.request.samples, weights[i])));
    available.push_back(datasets.back().size());
  }
  // Normalized once more: the order is defined by the weights after that. The peer draws as many as the corpora's
  // shares add up to, each rounded up: the same and then some, which many small corpora make more than was prepared.
  auto index = open_blend_index(normalize_weights(weights), *split.request.samples, available, split.cache);
  return {std::move(datasets), std::move(index)};
}

GptSamples open_by_size(OpenCorpora& corpora, Blend const& blend, SplitRequest const& split) {
  std::vector<GptDataset> datasets;
  std::vector<std::int64_t> available;
  for (auto const& prefix : blend.prefixes) {
    datasets.push_back(open_dataset(corpora, prefix, split, std::nullopt));
    available.push_back(datasets.back().size());
  }
  validate(std::any_of(available.begin(), available.end(), [](std::int64_t count) { return count > 0; }),
           "None of the ", available.size(), " corpora of the ", name(split.split),
           " split has a whole sample (each has fewer than ", split.request.sequence_length + 1,
           " tokens in it). Merge them into one corpus, or use more data.");
  auto index = open_exhaustive_blend_index(available, split.request.samples, split.request.seed, split.cache);
  return {std::move(datasets), std::move(index)};
}

GptSamples open_split(OpenCorpora& corpora, Blend const& blend, SplitRequest split) {
  bool const single = blend.prefixes.size() == 1 && (blend.weights.empty() || split.whole);
  if (!single && !blend.weights.empty()) return open_weighted(corpora, blend, split);
  if (split.once) split.request.samples.reset();
  return single ? GptSamples(open_dataset(corpora, blend.prefixes[0], split, split.request.samples))
                : open_by_size(corpora, blend, split);
}

}  // namespace

GptSamples::GptSamples(GptDataset dataset) : size_(dataset.size()) { datasets_.push_back(std::move(dataset)); }

GptSamples::GptSamples(std::vector<GptDataset> datasets, BlendIndex index)
    : datasets_(std::move(datasets)), index_(std::move(index)), size_(index_.dataset.size()) {}

GptSamples::Source GptSamples::source(std::int64_t k) const {
  validate(k >= 0 && k < size_, "There is no sample ", k, " (", size_,
           " were prepared). Prepare as many as will be used.");
  if (index_.dataset.size() == 0) return {datasets_.front(), k};
  return {datasets_[static_cast<std::size_t>(index_.dataset[k])], index_.sample[k]};
}

std::int64_t GptSamples::sample(std::int64_t k, std::span<std::int32_t> tokens,
                                std::vector<std::int32_t>& parts) const {
  auto const [dataset, number] = source(k);
  return dataset.sample(number, tokens, parts);
}

GptDataset::Place GptSamples::locate(std::int64_t k, std::int64_t token) const {
  auto const [dataset, number] = source(k);
  return dataset.locate(number, token);
}

std::array<std::optional<GptSamples>, 3> open_corpora(DataConfig const& data, SampleCounts const& samples,
                                                      std::int32_t sequence_length, std::uint32_t seed, bool evaluate) {
  std::array<std::optional<GptSamples>, 3> opened;
  OpenCorpora corpora;
  bool const shared = data.valid.empty() && data.test.empty();
  std::array<std::vector<std::string> const*, 3> const lists = {&data.train, shared ? &data.train : &data.valid,
                                                                shared ? &data.train : &data.test};
  auto const fractions = shared ? parse_split(data.split) : SplitFractions{{{{0, 1}}, {{0, 1}}, {{0, 1}}}};
  for (std::size_t i = 0; i < 3; ++i) {
    if (samples[i] == 0 || lists[i]->empty() || !fractions[i]) continue;
    auto const split = static_cast<Split>(i);
    bool const drop_last = split == Split::train || !evaluate;
    SplitRequest const request{split,      *fractions[i], {samples[i], sequence_length, seed, drop_last},
                               data.cache, !shared,       evaluate};
    opened[i] = open_split(corpora, parse_blend(*lists[i]), request);
  }
  return opened;
}

}  // namespace selenite
