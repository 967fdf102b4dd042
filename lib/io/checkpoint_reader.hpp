#pragma once
#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoint.hpp"
#include "io/checkpoint_index.hpp"
#include "io/io_thread.hpp"

namespace selenite {

/// Reads any boxes of the tensors of one checkpoint, whoever wrote them. HDF5 would answer a missing or damaged shard
/// with fill values and success; so the mapping is read and followed here, and the checksum of every byte that is used
/// is checked. Every error names the checkpoint and what is wrong with it.
class CheckpointReader {
 public:
  /// Opens the index and reads the header.
  CheckpointReader(IoThread& io, std::filesystem::path const& folder);
  ~CheckpointReader();
  CheckpointReader(CheckpointReader const&) = delete;
  CheckpointReader& operator=(CheckpointReader const&) = delete;

  CheckpointHeader const& header() const { return header_; }
  std::filesystem::path const& folder() const { return folder_; }

  /// Names of the tensors of a kind; empty if there is no such kind.
  std::vector<std::string> names(std::string const& kind);
  struct TensorInfo {
    DType dtype;
    Shape shape;
  };
  /// Dtype and shape of a tensor, if the checkpoint has it.
  std::optional<TensorInfo> find(std::string const& kind, std::string const& name);

  /// Fills the data of all pieces, or throws, also where values are not finite. A float dtype other than the file's is
  /// converted.
  void read(std::span<CheckpointPiece const> pieces);
  void read(CheckpointPiece const& piece) { read(std::span(&piece, 1)); }

  /// Throws unless every shard is there in its right size.
  void check_sizes();
  /// Reads everything and checks all checksums.
  void check_bytes();

 private:
  struct Shard {
    std::string name;
    hdf5::File file;
  };
  template <class Job>
  void on_io_thread(Job job);
  hdf5::VirtualDataset const& tensor(std::string const& path);
  hdf5::File& shard(std::string const& name);
  void read_piece(CheckpointPiece const& piece);
  void read_mapping(hdf5::Mapping const& mapping, DType dtype, Box const& part, CheckpointPiece const* piece);
  void load_chunk(std::string const& key, hdf5::Dataset const& dataset, Shape const& offset, std::int64_t bytes,
                  std::uint64_t checksum);

  IoThread& io_;
  std::filesystem::path folder_;
  std::optional<hdf5::File> index_;
  CheckpointHeader header_;
  ShardSizes sizes_;
  std::deque<Shard> shards_;     // open ones, last used first
  std::string tensor_path_;      // of tensor_
  hdf5::VirtualDataset tensor_;  // the last one looked up
  std::string chunk_key_;        // which chunk is in chunk_
  std::vector<std::byte> chunk_;
};

}  // namespace selenite
