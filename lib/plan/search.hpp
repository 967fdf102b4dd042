#pragma once
#include <map>
#include <string>
#include <vector>

#include "core/config.hpp"
#include "core/machine.hpp"

namespace selenite {

/// What a search may choose of a config.
struct Choice {
  std::int64_t tensor = 1, context = 1, data = 1, pipe = 1, interleave = 1;
  std::int64_t micro_batch = 1, recompute_layers = 1, optimizer_sharding = 0;
  ScheduleKind schedule = ScheduleKind::one_f_one_b;
  Recompute recompute = Recompute::none;
  bool sequence_parallel = false;
  bool operator==(Choice const&) const = default;

  Config apply(Config config) const;
};

struct SearchRequest {
  Config config;  ///< not resolved: the model, the batch and all that is not searched
  std::int64_t gpus = 1;
  std::vector<std::string> pinned;  ///< fields ("layout.tensor") that stay as the config has them
  unsigned threads = 1;
  bool prune = true;  ///< leave out what a bound shows to be neither among the best nor on the front
};

struct Found {
  Choice choice;
  double seconds = 0, mfu = 0;
  std::int64_t bytes = 0;  ///< of the fullest rank
};

struct SearchResult {
  std::vector<Found> best;   ///< at most ten that fit, fastest first; of equally fast ones the smaller first
  std::vector<Found> front;  ///< those than which none is faster and smaller, by rising memory
  std::int64_t candidates = 0, predicted = 0, pruned = 0;
  std::map<std::string, std::int64_t> infeasible;  ///< by reason
};

/// Looks through all layouts (tensor, context, data, pipe), micro-batches, schedules, recomputation, optimizer sharding
/// and sequence parallelism of a model on so many ranks of the machine. Each that is neither infeasible nor pruned is
/// predicted by walking it. Throws Error if the config is wrong whatever is chosen, or if the machine lacks figures of
/// its links.
SearchResult search(SearchRequest const& request, Machine const& machine);

}  // namespace selenite
