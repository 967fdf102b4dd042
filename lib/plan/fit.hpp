#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config.hpp"
#include "train/stage.hpp"

namespace selenite {

/// A change of a config, as `--set` texts, and what its fullest rank then needs.
struct Fit {
  std::vector<std::string> settings;
  std::int64_t bytes = 0;
};
/// The nearest change of a resolved config with which no rank of the same world needs more than `bytes`: of optimizer
/// sharding, recomputation, micro-batch and layout, those first that slow the training least, one before two before
/// three. None if nothing tried helps.
std::optional<Fit> nearest_fit(Config const& config, std::int64_t bytes);

/// Throws Error, with what takes the room and the nearest config that fits, if `needed`, what the fullest rank needs,
/// is more than `bytes`. `whose`: "this machine has 3 GiB left for each of its 8 ranks".
void require_fit(Config const& config, Footprint const& needed, std::int64_t bytes, std::string const& whose);

}  // namespace selenite
