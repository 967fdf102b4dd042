#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
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
  /// Slots of a stage's chunks, by pipe, chunks, schedule, micro-batches and stage; for any number of threads.
  class Slots;
  Bounds(Config const& config, Machine const& machine, std::shared_ptr<Slots> slots = nullptr);
  /// No step of the choice is faster, no fullest rank smaller. Of choices that resolve() accepts; `layers`: of each
  /// virtual stage.
  double seconds(Choice const& choice, std::vector<std::int64_t> const& layers) {
    return passes(choice, layers) + rest(choice, layers);
  }
  /// The part of the passes, which is the same whatever is sharded and how many layers are recomputed together.
  double passes(Choice const& choice, std::vector<std::int64_t> const& layers);
  /// That of gradients and optimizer.
  double rest(Choice const& choice, std::vector<std::int64_t> const& layers);
  double bytes(Choice const& choice, std::vector<std::int64_t> const& layers);
  /// The part of weights, gradients and optimizer, which takes no walk for each micro-batch.
  double state_bytes(Choice const& choice, std::vector<std::int64_t> const& layers);

 private:
  static constexpr double rounding = 1e-9;
  /// What a block takes, or what embedding or head add to a stage. `backward` is without the weights' half where that
  /// comes apart.
  struct Part {
    double forward = 0, backward = 0, weight = 0;
    std::int64_t slot = 0;
    double all() const { return forward + backward + weight; }
  };
  struct Parts {
    Part block, embedding, head;
    std::int64_t slot_between = 0;  ///< what a slot grows by with a further block, or group that is recomputed together
    std::int64_t scratch = 0, scratch_more = 0;  ///< bytes, and what is more with a further block recomputed together
  };
  /// Of this rank's parameters; `copied`: the head's own copy of the embedding.
  struct Elements {
    std::int64_t block = 0, embedding = 0, head = 0, copied = 0;
  };
  using Key = std::tuple<std::int64_t, bool, Recompute, bool>;  ///< what passes depend on

  Parts const& parts(Choice const& choice);
  Parts measure(Choice const& choice) const;
  Elements const& elements(Choice const& choice);
  double state_bytes(std::int64_t stage, Choice const& choice, std::vector<std::int64_t> const& layers);
  double bytes_of_an_element(Choice const& choice);
  /// Seconds of a block's parameters, if they are reduced in one bucket with many others.
  struct Update {
    double sync = 0, step = 0;
  };
  Update const& update(Choice const& choice);
  Config config_;
  Machine const& machine_;
  std::map<Key, Parts> parts_;
  std::optional<Elements> elements_;
  std::map<std::pair<std::int64_t, std::int64_t>, Update> updates_;        ///< by data ranks and sharding
  std::map<std::pair<std::int64_t, std::int64_t>, double> element_bytes_;  ///< by shards and sharding
  std::shared_ptr<Slots> slots_;
};

class Bounds::Slots {
 public:
  std::vector<std::int64_t> const& of(LayoutConfig const& layout, std::int64_t micros, std::int64_t stage);

 private:
  /// Of this rank's parameters; `copied`: the head's own copy of the embedding.
  struct Elements {
    std::int64_t block = 0, embedding = 0, head = 0, copied = 0;
  };
  using Key = std::tuple<std::int64_t, std::int64_t, ScheduleKind, std::int64_t, std::int64_t>;
  std::mutex mutex_;
  std::map<Key, std::vector<std::int64_t>> known_;
};

}  // namespace selenite
