#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "comm/comm.hpp"
#include "io/checkpoint_folder.hpp"
#include "io/checkpoint_reader.hpp"
#include "io/checkpoint_writer.hpp"
#include "train/stage.hpp"

namespace selenite {

/// The pieces that this rank writes: of every parameter its share among the ranks that hold the same, so that each
/// value is written once. Kinds: weight (exact), the moments m and v, and amax: the histories behind 8-bit scales.
std::vector<CheckpointPiece> pieces_to_write(StageState const& stage);
/// The pieces that this rank needs back. `with_moments`: to go on training; else weights alone.
std::vector<CheckpointPiece> pieces_to_read(StageState const& stage, bool with_moments);
/// Fills what this rank owns of the exact weights (and moments) from a checkpoint of any layout; publish_weights has to
/// follow, once all ranks are done. Padding of the vocabulary may differ, and so may the length of 8-bit histories, of
/// which the newest are taken. Throws Error if the checkpoint lacks a tensor, has one more or one of another shape:
/// then it is of another model, and the differences are named.
void restore(StageState& stage, CheckpointReader& reader, bool with_moments);

/// What a training goes on from.
struct Resumed {
  std::optional<Progress> at;        ///< none if there is no checkpoint at all
  std::vector<std::string> skipped;  ///< why newer ones were not taken: they are damaged
  std::vector<std::string> changes;  ///< fields with which the training was another one so far
};

/// Saves of a run: started at a step boundary, written beside the training, committed at the first boundary at which
/// all ranks' shards are on disk.
class Checkpoints {
 public:
  /// Throws Error where checkpoint.resume = false and checkpoints lie in `root` already.
  Checkpoints(Config const& config, Comm& comm, StageState& stage, std::filesystem::path root);
  /// Loads the newest checkpoint that can be loaded whole. Throws Error if that is of another model, or if there are
  /// checkpoints but none can be loaded: to begin anew in silence would lose them.
  Resumed resume(Ctx& ctx);
  /// Starts a save; waits for one still under way. On a device the state is copied beside what comes next: the
  /// optimizer alone waits for that.
  void start(Ctx& ctx, Progress const& at);
  /// To be called at every step boundary by all ranks: commits when all are done. Returns the folder when it did.
  std::optional<std::filesystem::path> poll(bool wait = false);
  std::filesystem::path const& root() const { return root_; }
  /// The last one committed or resumed from, for messages; empty if there is none.
  std::filesystem::path const& last() const { return last_; }

 private:
  Config const& config_;
  Comm& comm_;
  StageState& stage_;
  std::filesystem::path root_, last_;
  IoThread io_;
  std::vector<CheckpointPiece> pieces_;
  std::optional<CheckpointWriter> writer_;
  std::optional<Progress> under_way_;
};

}  // namespace selenite
