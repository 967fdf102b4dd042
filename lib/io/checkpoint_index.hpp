#pragma once
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "io/checkpoint.hpp"
#include "io/hdf5.hpp"

/// The index of a checkpoint, `index.h5`: header, sizes of the shards, one virtual dataset for each logical tensor.
namespace selenite {

constexpr char const* index_name = "index.h5";

/// (kind, name) -> the tensor whole.
using TensorMap = std::map<std::pair<std::string, std::string>, hdf5::VirtualDataset>;
/// Joins the tables of all writers. Throws Error if the pieces of a tensor differ in shape or dtype, overlap or leave
/// gaps.
TensorMap join_tables(std::span<PieceTable const> tables);

/// Sizes of the shards in bytes, by file name.
using ShardSizes = std::map<std::string, std::int64_t>;

/// Both for the I/O thread.
void write_index(std::filesystem::path const& path, CheckpointHeader const& header, ShardSizes const& shards,
                 TensorMap const& tensors);
CheckpointHeader read_header(hdf5::File const& index);
ShardSizes read_shard_sizes(hdf5::File const& index);

}  // namespace selenite
