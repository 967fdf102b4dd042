#include "schedule/stages.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {

namespace {

void require_parts(std::int64_t parts) {
  validate(parts > 0, "Layers cannot be split into ", parts,
           " parts (a pipeline has at least one). Correct the layout.");
}

/// The split of `layers` in a row into `parts` whose costs, joined part by part, are the least; by dynamic programming.
/// cost(part, first, last) is that of the layers [first, last).
template <class Cost, class Join>
std::vector<std::int64_t> best_split(std::size_t layers, std::size_t parts, Cost const& cost, Join const& join) {
  double const none = std::numeric_limits<double>::infinity();
  std::size_t const least = layers >= parts ? 1 : 0, width = layers + 1;
  std::vector<double> best(parts * width, none);     // [part, layers up to its end]
  std::vector<std::size_t> start(parts * width, 0);  // [part, layers up to its end]: where the part starts
  for (std::size_t end = least; end <= layers; ++end) best[end] = cost(0, 0, end);
  for (std::size_t p = 1; p < parts; ++p)
    for (std::size_t end = least; end <= layers; ++end)
      for (std::size_t first = 0; first + least <= end; ++first) {
        double const total = join(best[(p - 1) * width + first], cost(p, first, end));
        if (total <= best[p * width + end]) best[p * width + end] = total, start[p * width + end] = first;
      }
  std::vector<std::int64_t> counts(parts);
  std::size_t end = layers;
  for (std::size_t p = parts; p-- > 0;) {
    std::size_t const first = p == 0 ? 0 : start[p * width + end];
    counts[p] = static_cast<std::int64_t>(end - first), end = first;
  }
  return counts;
}

}  // namespace

std::vector<std::int64_t> even_split(std::int64_t layers, std::int64_t parts) {
  require_parts(parts);
  std::vector<std::int64_t> counts;
  for (std::int64_t i = 0; i < parts; ++i) counts.push_back(layers / parts + (i < layers % parts));
  return counts;
}

std::vector<std::int64_t> parse_stages(std::string_view text, std::int64_t parts) {
  require_parts(parts);
  std::vector<std::int64_t> counts;
  for (std::string const& cell : split(text, ',')) {
    counts.push_back(parse_integer(trim(cell), "layers of a stage"));
    validate(counts.back() >= 0, "Stages \"", text, "\" have a negative number of layers. Correct the list.");
  }
  validate(static_cast<std::int64_t>(counts.size()) == parts, "Stages \"", text, "\" are ", counts.size(),
           " counts of layers (the pipeline has ", parts, " virtual stages). Give one count for each.");
  validate(std::any_of(counts.begin(), counts.end(), [](std::int64_t n) { return n > 0; }), "Stages \"", text,
           "\" have no layer. Correct the list.");
  return counts;
}

std::vector<std::int64_t> balanced_split(std::vector<double> const& layer_seconds, double first_extra,
                                         double last_extra, std::int64_t parts) {
  require_parts(parts);
  std::vector<double> before(layer_seconds.size() + 1, 0);
  std::partial_sum(layer_seconds.begin(), layer_seconds.end(), before.begin() + 1);
  auto const count = static_cast<std::size_t>(parts);
  auto seconds = [&](std::size_t part, std::size_t first, std::size_t last) {
    return before[last] - before[first] + (part == 0 ? first_extra : 0) + (part + 1 == count ? last_extra : 0);
  };
  auto larger = [](double a, double b) { return std::max(a, b); };
  std::vector<std::int64_t> const fastest = best_split(layer_seconds.size(), count, seconds, larger);
  double slowest = 0;
  for (std::size_t part = 0, first = 0; part < count; ++part) {
    std::size_t const last = first + static_cast<std::size_t>(fastest[part]);
    slowest = std::max(slowest, seconds(part, first, last)), first = last;
  }
  // Of the splits that are as fast, the most even: others leave one stage idle for another's sake. The margin is for
  // the rounding of sums.
  auto squared = [&](std::size_t part, std::size_t first, std::size_t last) {
    double const s = seconds(part, first, last);
    return s <= slowest * (1 + 1e-12) ? s * s : std::numeric_limits<double>::infinity();
  };
  return best_split(layer_seconds.size(), count, squared, [](double a, double b) { return a + b; });
}

}  // namespace selenite
