#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoint.hpp"
#include "io/io_thread.hpp"

namespace selenite {

/// "step-00000100"
std::string checkpoint_name(std::int64_t step);
/// Where a checkpoint is while it is written: "<root>/step-00000100.partial".
std::filesystem::path partial_folder(std::filesystem::path const& root, std::int64_t step);

struct CheckpointEntry {
  std::int64_t step = 0;
  std::filesystem::path folder;
};
/// The checkpoints under `root` by their names, oldest first, broken ones included. A missing root has none;
/// one that can't be listed throws Error.
std::vector<CheckpointEntry> list_checkpoints(std::filesystem::path const& root);

struct NewestCheckpoint {
  std::optional<CheckpointEntry> found;
  std::vector<std::string> skipped;  ///< one line for each newer one that is not whole, with the reason
};
/// How much of a checkpoint is looked at: index and sizes of all shards, or every byte as well.
enum class CheckDepth : std::uint8_t { sizes, bytes };
/// The newest whole checkpoint.
NewestCheckpoint newest_checkpoint(IoThread& io, std::filesystem::path const& root,
                                   CheckDepth depth = CheckDepth::sizes);

/// To be called by one rank when the writers of all tables are done: checks that the pieces tile every tensor, writes
/// index.h5, syncs, renames the partial folder to its final name (a checkpoint of the same step is replaced), and
/// removes the oldest whole ones beyond `keep` (0: keeps all). Returns the folder. If it throws, the partial folder has
/// been removed.
std::filesystem::path commit_checkpoint(IoThread& io, std::filesystem::path const& root, CheckpointHeader const& header,
                                        std::span<std::string const> tables, std::int64_t keep);

/// Removes the partial folder of a save that failed on some rank. Never throws.
void discard_partial(std::filesystem::path const& root, std::int64_t step) noexcept;
/// Removes what killed runs left behind. Only where no other run saves to this root. Never throws.
void discard_leftovers(std::filesystem::path const& root) noexcept;

}  // namespace selenite
