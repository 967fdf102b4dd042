#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/npy.hpp"

namespace selenite {

/// Corpora to draw from, with weights or (empty) each in proportion to its samples.
struct Blend {
  std::vector<std::filesystem::path> prefixes;
  std::vector<double> weights;
};

/// Reads ["path/a"], ["path/a", "path/b"] or ["0.7", "path/a", "0.3", "path/b"]; corpora of weight 0 are left out.
/// Throws Error for a mixture of these.
Blend parse_blend(std::span<std::string const> items);

/// Weights that add up to one. The sum is taken in numpy's order, since the last bit decides ties between corpora.
std::vector<double> normalize_weights(std::vector<double> weights);

/// Samples that a corpus of this normalized weight gives to a blend of `samples`, and how many are prepared for it: 0.5
/// % more, as the greedy draw may be ahead of the weights.
std::int64_t blended_samples(std::int64_t samples, double weight);
std::int64_t prepared_samples(std::int64_t samples, double weight);

/// For each sample of a blend, the corpus that it is from and its number there.
struct BlendIndex {
  IndexArray<std::int16_t> dataset;  // [size]
  IndexArray<std::int64_t> sample;   // [size]
};

/// Greedy: at each step the corpus that is furthest behind its weight, the first of equals. No random numbers.
/// Throws Error if the draw wants more of a corpus than `available`. Mapped from `cache` unless that is empty.
BlendIndex open_blend_index(std::vector<double> const& weights, std::int64_t size,
                            std::span<std::int64_t const> available, std::filesystem::path const& cache);
/// The same with each corpus drawn to its end: `available` samples of each are an epoch. With `samples`, as many of it,
/// or that many in epochs: the first is as it is alone, each further one the same samples shuffled anew from `seed`.
BlendIndex open_exhaustive_blend_index(std::span<std::int64_t const> available, std::optional<std::int64_t> samples,
                                       std::uint32_t seed, std::filesystem::path const& cache);

}  // namespace selenite
