#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/calls.hpp"
#include "core/grid.hpp"

namespace selenite {

/// What a rank's watchdog tells of it. Goes between ranks as bytes.
struct WatchPost {
  std::int64_t rank = 0;
  std::uint64_t actions = 0;      ///< announced so far
  std::uint64_t call = 0;         ///< packed: the call to others that the rank is in; 0: none
  double idle = 0;                ///< seconds since it last announced an action, or made a call
  bool slow = false;              ///< the action may take any time: files are read or written
  bool ended = false;             ///< the rank has left training: it owes nothing any more
  std::array<char, 80> action{};  ///< the last one announced
  void set_action(std::string const& text);
  bool waits() const { return call != 0; }
};
std::string to_note(WatchPost const& post);
/// None if the bytes are no post.
std::optional<WatchPost> from_note(std::string const& note);
/// "step 7 F0.2" or, in a call to others, "step 7 F0.2: recv from rank 1".
std::string doing(WatchPost const& post);

/// The last post of every rank, and what follows from them. Times are seconds on the clock of the one who asks.
class WatchTable {
 public:
  WatchTable(ProcessGrid const& grid, double now);
  void update(WatchPost const& post, double now);
  /// The time that the owner itself was stopped does not count.
  void skip(double seconds);
  bool silent(Rank rank, double now, double limit) const;
  /// Why the job does not move: a rank whose posts have stopped for `limit` seconds or, when all post, no rank that has
  /// moved for so long. Names the rank to look at, its last action and what the others do; none while all is well.
  std::optional<std::string> verdict(double now, double limit) const;
  /// The ranks that have not posted since `then`, with their last actions; empty if there is none.
  std::string missing_since(double then, double now) const;

 private:
  struct Row {
    WatchPost post;
    double at = 0;
  };
  std::optional<std::string> of_the_silent(double now, double limit) const;
  std::optional<std::string> of_the_stuck(double now, double limit) const;
  std::string name(std::size_t rank) const;
  std::string others(std::vector<std::size_t> const& but) const;
  double idle(Row const& row, double now) const { return row.post.idle + (now - row.at); }

  ProcessGrid grid_;
  std::vector<Row> rows_;
};

}  // namespace selenite
