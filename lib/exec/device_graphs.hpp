#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/cuda_graph.hpp"
#include "exec/tally.hpp"

namespace selenite {

/// What launches depend on that come again and again, beside what is in memory when they run.
struct LaunchKey {
  std::vector<std::uint64_t> place;  ///< what they are and where they work: each has a graph
  std::uint64_t variant = 0;         ///< a value that they hold: with another one the graph is made anew
};

/// Launches of a device's compute lane that come again and again, each captured as a CUDA graph when it comes the
/// second time: the first time libraries choose algorithms and make what they need. Ctx::repeated plays them.
class DeviceGraphs {
 public:
  /// What is launched besides these is launched one by one: a graph takes memory of host and device that no plan
  /// counts.
  static constexpr std::size_t most = 256;

  /// A graph, and what the run that it was captured from has left on the host.
  struct Captured {
    CudaGraph graph;
    Tally counted;
    double flops = 0;              ///< of Cuda
    std::int64_t saved_bytes = 0;  ///< in the slot
    std::function<void()> leave;   ///< the same values where the caller has them
  };
  struct Entry {
    std::uint64_t variant = 0;
    bool known = false;  ///< has run once
    std::optional<Captured> captured;
  };

  /// Null: not to be captured.
  Entry* find(LaunchKey const& key);
  /// From now on nothing is captured, and nothing launched as a graph.
  void give_up(std::string const& why);
  /// What there is to say of it, once.
  std::optional<std::string> take_note() { return std::exchange(note_, std::nullopt); }

  std::int64_t captures = 0, replays = 0;

 private:
  std::map<std::vector<std::uint64_t>, Entry> entries_;
  bool given_up_ = false;
  std::optional<std::string> note_;
};

}  // namespace selenite
