#include "data/blend.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <numeric>
#include <span>

#include "data/index_cache.hpp"
#include "data/numpy_random.hpp"

namespace selenite {
namespace {

std::optional<double> as_number(std::string const& text) {
  double value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  return value;
}

/// numpy.sum of float64: eight running sums, halved recursively beyond 128 values.
double pairwise_sum(std::span<double const> values) {
  if (values.size() < 8) return std::accumulate(values.begin(), values.end(), 0.0);
  if (values.size() > 128) {
    std::size_t const half = values.size() / 2 / 8 * 8;
    return pairwise_sum(values.first(half)) + pairwise_sum(values.subspan(half));
  }
  double r[8];
  std::copy_n(values.begin(), 8, r);
  std::size_t i = 8;
  for (; i + 8 <= values.size(); i += 8) {
    for (std::size_t k = 0; k < 8; ++k) r[k] += values[i + k];
  }
  double sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  for (; i < values.size(); ++i) sum += values[i];
  return sum;
}

struct Draws {
  std::vector<std::int16_t> dataset;
  std::vector<std::int64_t> sample;
};

/// `live`: numbers of the datasets that take part, ascending; a dataset leaves when `available` are drawn and
/// `exhaust`.
Draws draw(std::span<double const> weights, std::int64_t size, std::span<std::int64_t const> available, bool exhaust) {
  std::vector<std::size_t> live;
  for (std::size_t d = 0; d < weights.size(); ++d) {
    if (!exhaust || available[d] > 0) live.push_back(d);
  }
  std::vector<std::int64_t> drawn(weights.size());
  Draws draws{std::vector<std::int16_t>(static_cast<std::size_t>(size)),
              std::vector<std::int64_t>(static_cast<std::size_t>(size))};
  for (std::size_t i = 0; i < static_cast<std::size_t>(size); ++i) {
    double const step = std::max(static_cast<double>(i), 1.0);
    std::size_t best = live[0];
    double best_behind = weights[best] * step - static_cast<double>(drawn[best]);
    for (std::size_t const d : live) {
      double const behind = weights[d] * step - static_cast<double>(drawn[d]);
      if (behind > best_behind) best_behind = behind, best = d;
    }
    draws.dataset[i] = static_cast<std::int16_t>(best);
    draws.sample[i] = drawn[best]++;
    if (exhaust && drawn[best] == available[best]) live.erase(std::find(live.begin(), live.end(), best));
  }
  for (std::size_t d = 0; d < drawn.size(); ++d) {
    validate(drawn[d] <= available[d], "The blend draws ", drawn[d], " samples from corpus ", d,
             " (it was prepared for ", available[d], "). Give that corpus a larger weight, or leave it out.");
  }
  return draws;
}

/// Goes on to `size` samples: each further epoch has the samples of the first in an order of its own.
void repeat(Draws& draws, std::int64_t size, std::uint32_t seed) {
  if (size <= std::ssize(draws.dataset)) return;
  std::vector<std::uint64_t> order(draws.dataset.size());
  std::iota(order.begin(), order.end(), std::uint64_t{0});
  NumpyRandom random(seed);
  draws.dataset.reserve(static_cast<std::size_t>(size));
  draws.sample.reserve(static_cast<std::size_t>(size));
  while (std::ssize(draws.dataset) < size) {
    random.shuffle(std::span(order));
    auto const rest = std::min<std::int64_t>(std::ssize(order), size - std::ssize(draws.dataset));
    for (std::uint64_t const i : std::span(order).first(static_cast<std::size_t>(rest))) {
      draws.dataset.push_back(draws.dataset[i]);
      draws.sample.push_back(draws.sample[i]);
    }
  }
}

template <class Make>
BlendIndex map_or_build(std::string const& description, std::int64_t size, std::filesystem::path const& folder,
                        Make const& make) {
  if (folder.empty()) {
    Draws draws = make();
    return {IndexArray(std::move(draws.dataset)), IndexArray(std::move(draws.sample))};
  }
  IndexCache const cache(folder, description);
  auto const datasets = cache.file("dataset_index.npy"), samples = cache.file("dataset_sample_index.npy");
  auto const map = [&] {
    return BlendIndex{map_array<std::int16_t>(datasets, {size}), map_array<std::int64_t>(samples, {size})};
  };
  return cache.map_or_build(map, [&] {
    Draws const draws = make();
    write_array(datasets, draws.dataset, std::array{size});
    write_array(samples, draws.sample, std::array{size});
  });
}

std::string describe(char const* rule, std::span<double const> weights, std::span<std::int64_t const> available,
                     std::int64_t size) {
  std::string text = concat("selenite blend, version 1, ", rule, "\nsize: ", size, "\nweights:", std::hex);
  for (double const weight : weights) text += concat(" ", std::hex, std::bit_cast<std::uint64_t>(weight));
  text += "\navailable:";
  for (std::int64_t const count : available) text += concat(" ", count);
  return text + "\n";
}

}  // namespace

Blend parse_blend(std::span<std::string const> items) {
  Blend blend;
  validate(!items.empty(),
           "A list of corpora is empty (there is nothing to read). Give the prefix of an .idx/.bin pair.");
  auto const odd_is_path = [&] { return items.size() % 2 == 0 && as_number(items[0]).has_value(); };
  bool const weighted = odd_is_path();
  for (std::size_t i = 0; i < items.size(); ++i) {
    auto const number = as_number(items[i]);
    bool const weight_here = weighted && i % 2 == 0;
    validate(number.has_value() == weight_here, "\"", items[i], "\" in a list of corpora is ",
             weight_here ? "no weight" : "no prefix", " (weights go with all corpora or with none). ",
             "Write [\"0.7\", \"path/a\", \"0.3\", \"path/b\"] or [\"path/a\", \"path/b\"].");
    if (!weight_here) {
      // A draw takes the first of equals, be its weight 0: what is never to be drawn takes no part.
      bool const never = weighted && blend.weights.back() == 0;
      if (never) blend.weights.pop_back();
      if (!never) blend.prefixes.emplace_back(items[i]);
      continue;
    }
    validate(std::isfinite(*number) && *number >= 0, "Weight ", items[i],
             " of a corpus is impossible (weights are not negative). ", "Correct it.");
    blend.weights.push_back(*number);
  }
  validate(!blend.prefixes.empty(), "The weights of the corpora are all 0 (nothing can be drawn). Correct them.");
  validate(blend.prefixes.size() < 32767, "A blend of ", blend.prefixes.size(),
           " corpora is too large (less than 32767 can be numbered). Merge some of them.");
  return blend;
}

std::vector<double> normalize_weights(std::vector<double> weights) {
  double const sum = pairwise_sum(weights);
  validate(sum > 0 && std::isfinite(sum), "The weights of the corpora add up to ", sum,
           " (nothing can be drawn). Correct them.");
  for (double& weight : weights) weight /= sum;
  return weights;
}

std::int64_t blended_samples(std::int64_t samples, double weight) {
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(samples) * weight));
}

std::int64_t prepared_samples(std::int64_t samples, double weight) {
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(blended_samples(samples, weight)) * (1 + 0.005)));
}

BlendIndex open_blend_index(std::vector<double> const& weights, std::int64_t size,
                            std::span<std::int64_t const> available, std::filesystem::path const& cache) {
  auto const text = describe("greedy", weights, available, size);
  return map_or_build(text, size, cache, [&] { return draw(weights, size, available, false); });
}

BlendIndex open_exhaustive_blend_index(std::span<std::int64_t const> available, std::optional<std::int64_t> samples,
                                       std::uint32_t seed, std::filesystem::path const& cache) {
  std::int64_t const epoch = std::accumulate(available.begin(), available.end(), std::int64_t{0});
  std::int64_t const size = samples.value_or(epoch);
  validate(epoch > 0 || size == 0, "Cannot draw ", size, " samples from corpora that have none. Use larger ones.");
  std::vector<double> weights;
  for (std::int64_t const count : available) weights.push_back(static_cast<double>(count) / static_cast<double>(epoch));
  auto const text = concat(describe("exhaustive", weights, available, size), "seed of further epochs: ", seed, "\n");
  return map_or_build(text, size, cache, [&] {
    Draws draws = draw(weights, std::min(size, epoch), available, true);
    repeat(draws, size, seed);
    return draws;
  });
}

}  // namespace selenite
