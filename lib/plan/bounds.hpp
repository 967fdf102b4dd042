#pragma once
#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "core/config.hpp"
#include "core/machine.hpp"
#include "plan/search.hpp"

namespace selenite {

/// Lower bounds of what choices with one size of tensor and context groups take, from walks of pipelines with a block
/// or two a stage. Layers are alike, so a stage computes and keeps at least as many times what a block does; a step is
/// no shorter than a stage's passes, with the way of a micro-batch to the stage before and back from it after them. Not
/// for two threads at once.
class Bounds {
 public:
  Bounds(Config const& config, Machine const& machine) : config_(config), machine_(machine) {}
  /// No step of the choice is faster, no fullest rank smaller. Of choices that resolve() accepts; `layers`: of each
  /// virtual stage.
  double seconds(Choice const& choice, std::vector<std::int64_t> const& layers);
  double bytes(Choice const& choice, std::vector<std::int64_t> const& layers);

 private:
  static constexpr double rounding = 1e-9;
  /// What a block takes, or what embedding or head add to a stage. `backward` is without the weights' half where that
  /// comes apart; `elements` are those of this rank's parameters.
  struct Part {
    double forward = 0, backward = 0, weight = 0;
    std::int64_t slot = 0, elements = 0;
    double all() const { return forward + backward + weight; }
  };
  struct Parts {
    Part block, embedding, head;
    std::int64_t copied = 0;        ///< elements of the head's own copy of the embedding
    std::int64_t slot_between = 0;  ///< what a slot grows by with a further block, or group that is recomputed together
    std::int64_t scratch = 0, scratch_more = 0;  ///< bytes, and what is more with a further block recomputed together
  };
  using Key = std::tuple<std::int64_t, bool, Recompute, bool>;  ///< what passes depend on

  Parts const& parts(Choice const& choice);
  Parts measure(Choice const& choice) const;
  double state_bytes(Choice const& choice);
  std::vector<std::int64_t> const& slots(Choice const& choice, std::int64_t micros, std::int64_t stage);

  Config const& config_;
  Machine const& machine_;
  std::map<Key, Parts> parts_;
  std::map<std::pair<std::int64_t, std::int64_t>, double> state_bytes_;  ///< of an element, by shards and sharding
  std::map<std::tuple<std::int64_t, std::int64_t, ScheduleKind, std::int64_t, std::int64_t>, std::vector<std::int64_t>>
      slots_;  ///< by pipe, chunks, schedule, micro-batches and stage
};

}  // namespace selenite
