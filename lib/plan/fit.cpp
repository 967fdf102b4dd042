#include "plan/fit.hpp"

#include <algorithm>

#include "core/text.hpp"
#include "plan/pipeline.hpp"

namespace selenite {
namespace {

/// What the fullest rank needs.
std::int64_t fullest(Config const& config) {
  std::int64_t most = 0;
  for (Footprint const& f : Pipeline(config, make_grid(config.layout), Rank(0), nullptr).footprints())
    most = std::max(most, f.total());
  return most;
}

std::vector<std::string> changes_of(Config const& c) {
  std::vector<std::string> list;
  for (std::int64_t level = c.train.optimizer_sharding + 1; level <= 2; ++level)
    list.push_back(concat("train.optimizer_sharding=", level));
  if (c.train.recompute == Recompute::none) list.emplace_back("train.recompute=selective");
  for (std::int64_t b = c.train.micro_batch / 2; b > 0; b /= 2)
    if (c.train.micro_batch % b == 0) list.push_back(concat("train.micro_batch=", b));
  if (c.train.recompute != Recompute::full) list.emplace_back("train.recompute=full");
  if (!c.layout.sequence_parallel) list.emplace_back("layout.sequence_parallel=true");
  for (std::int64_t factor : {2, 4, 8}) list.push_back(concat("layout.tensor=", factor * c.layout.tensor));
  for (std::int64_t factor : {2, 4, 8}) list.push_back(concat("layout.pipe=", factor * c.layout.pipe));
  for (std::int64_t factor : {2, 4}) list.push_back(concat("layout.context=", factor * c.layout.context));
  return list;
}

/// The config with these changes, if they go together.
std::optional<Config> changed(Config config, std::vector<std::string> const& settings) {
  try {
    std::int64_t const world = make_grid(config.layout).world();
    config.layout.data = 0, config.layout.stages.clear();
    for (std::string const& setting : settings) set_field(config, setting);
    return resolve(config, world);
  } catch (Error const&) {
    return std::nullopt;
  }
}

/// The first set of `count` changes from `list` that fits, for sets in lexical order of their places.
std::optional<Fit> first_fit(Config const& config, std::int64_t bytes, std::vector<std::string> const& list,
                             std::size_t first, std::size_t count, std::vector<std::string>& chosen) {
  if (count == 0) {
    auto const next = changed(config, chosen);
    if (!next) return std::nullopt;
    std::int64_t const needed = fullest(*next);
    return needed <= bytes ? std::optional<Fit>({chosen, needed}) : std::nullopt;
  }
  for (std::size_t i = first; i < list.size(); ++i) {
    chosen.push_back(list[i]);
    auto const found = first_fit(config, bytes, list, i + 1, count - 1, chosen);
    chosen.pop_back();
    if (found) return found;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Fit> nearest_fit(Config const& config, std::int64_t bytes) {
  std::vector<std::string> const list = changes_of(config);
  std::vector<std::string> chosen;
  for (std::size_t count = 1; count <= 3; ++count)
    if (auto found = first_fit(config, bytes, list, 0, count, chosen)) return found;
  return std::nullopt;
}

void require_fit(Config const& config, Footprint const& needed, std::int64_t bytes, std::string const& whose) {
  if (needed.total() <= bytes) return;
  auto text = [](std::int64_t n) { return format_bytes(static_cast<double>(n)); };
  std::string room;
  for (auto const& [label, size] : needed.rows())
    if (size > 0) room += concat(room.empty() ? "" : ", ", label, " ", text(size));
  auto const fit = nearest_fit(config, bytes);
  throw Error(concat(
      "A rank needs ", text(needed.total()), " of memory, but ", whose, " (", room, "). ",
      fit ? concat("Nearest that fits: --set ", join(fit->settings, " --set "), " (", text(fit->bytes), " a rank).")
          : "No change of sharding, recomputation, micro-batch or layout that was tried fits: use more "
            "ranks, more memory or a smaller model."));
}

}  // namespace selenite
