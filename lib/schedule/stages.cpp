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
/// cost(part, first, last) is that of the layers [first, last): the more layers, the higher.
template <class Cost, class Join>
std::vector<std::int64_t> best_split(std::size_t layers, std::size_t parts, Cost const& cost, Join const& join) {
  double const none = std::numeric_limits<double>::infinity();
  std::size_t const least = layers >= parts ? 1 : 0, width = layers + 1;
  std::vector<double> best(parts * width, none);     // [part, layers up to its end]
  std::vector<std::size_t> start(parts * width, 0);  // [part, layers up to its end]: where the part starts
  for (std::size_t end = least; end <= layers; ++end) best[end] = cost(0, 0, end);
  for (std::size_t p = 1; p < parts; ++p)
    for (std::size_t end = least; end <= layers; ++end)
      for (std::size_t first = end - least + 1; first-- > 0;) {
        double const own = cost(p, first, end);
        if (own > best[p * width + end]) break;  // and the longer parts cost more
        double const total = join(best[(p - 1) * width + first], own);
        if (total < best[p * width + end]) best[p * width + end] = total, start[p * width + end] = first;
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

std::vector<std::int64_t> parse_stages(std::string_view text, std::int64_t parts, std::int64_t layers) {
  require_parts(parts);
  std::vector<std::int64_t> counts;
  for (std::string const& cell : split(text, ',')) {
    std::string_view const count = trim(cell);
    validate(!count.empty() && count.size() < 10 && count.find_first_not_of("0123456789") == std::string_view::npos,
             "layout.stages = \"", text, "\" can't be read (\"", count,
             "\" is no number of layers). Write one number a virtual stage, such as 3,4,4,3, or auto, or nothing.");
    counts.push_back(parse_integer(count, "layers of a stage"));
  }
  validate(static_cast<std::int64_t>(counts.size()) == parts, "layout.stages = \"", text, "\" has ", counts.size(),
           " numbers (the pipeline has ", parts, " virtual stages, pipe x interleave). Give one for each.");
  std::int64_t const sum = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  validate(sum == layers, "layout.stages = \"", text, "\" has ", sum, " layers (model.layers is ", layers,
           "). Change one of the two.");
  return counts;
}

std::string stages_text(std::vector<std::int64_t> const& counts) {
  std::vector<std::string> cells;
  for (std::int64_t n : counts) cells.push_back(concat(n));
  return join(cells, ",");
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
