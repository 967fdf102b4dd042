#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <future>
#include <span>
#include <vector>

#include "core/arena.hpp"
#include "io/checkpoint.hpp"
#include "io/io_thread.hpp"

struct CUstream_st;

namespace selenite {

/// Bytes of host memory that writing these pieces takes. A pure function: their data may be null.
std::int64_t staging_bytes(std::span<CheckpointPiece const> pieces);

/// Writes one rank's shard while training goes on. The order of a save, for the ranks together:
///   every writer: start(partial_folder(root, step), ...)    copies the pieces, returns
///   at each step boundary: are all done()?
///   then one rank: commit_checkpoint(...) of checkpoint_folder.hpp, with the piece_table of every writer.
class CheckpointWriter {
 public:
  /// Takes the staging memory, once; pinned, for pieces on a CUDA device.
  CheckpointWriter(IoThread& io, std::int64_t staging_bytes, Memory::Kind kind = Memory::Kind::host);
  /// Waits for the disk.
  ~CheckpointWriter();
  CheckpointWriter(CheckpointWriter const&) = delete;
  CheckpointWriter& operator=(CheckpointWriter const&) = delete;

  /// Copies the pieces to the staging memory with all threads of the caller; after that they may change. The I/O thread
  /// writes and syncs shard-<writer>.h5 in `folder`, which is made if need be. The last save must have ended.
  /// With a stream, which pieces on a CUDA device need, the copies are given to it and may not be done at return: the
  /// pieces may change behind what the stream has then.
  void start(std::filesystem::path const& folder, std::int64_t step, std::vector<CheckpointPiece> const& pieces,
             int writer, CUstream_st* stream = nullptr);
  /// Is the shard on disk (or nothing under way)? If it failed: throws Error with path, bytes and reason, once; the
  /// shard has been removed then, and the folder if nothing else is in it. Values that are not finite are a failure.
  bool done();
  /// Waits for that.
  void wait();
  bool active() const { return end_.valid(); }

 private:
  IoThread& io_;
  Memory staging_;
  std::future<void> end_;
};

}  // namespace selenite
