#include "io/checkpoint_reader.hpp"

#include <algorithm>
#include <xxhash.h>

#include "core/files.hpp"
#include "io/boxes.hpp"
#include "io/finite.hpp"
#include "io/seal.hpp"

namespace selenite {
namespace {

constexpr std::size_t most_open_shards = 8;

/// A name from the index must not lead out of the folder.
bool plain_name(std::string const& name) { return !name.empty() && name.find('/') == std::string::npos; }

}  // namespace

/// Runs `job` there; its errors are told as errors of this checkpoint.
template <class Job>
void CheckpointReader::on_io_thread(Job job) {
  io_.run([&] {
    try {
      job();
    } catch (std::exception const& reason) {
      chunk_key_.clear();
      throw Error(concat("The checkpoint ", folder_.string(), " cannot be read (", reason_of(reason),
                         "). Use another checkpoint."));
    }
  });
}

CheckpointReader::CheckpointReader(IoThread& io, std::filesystem::path const& folder) : io_(io), folder_(folder) {
  on_io_thread([&] {
    validate(is_there(folder_ / index_name), "there is no ", index_name, " in it");
    check_seal(folder_ / index_name);
    index_ = hdf5::File::open(folder_ / index_name);
    header_ = read_header(*index_);
    sizes_ = read_shard_sizes(*index_);
  });
}

CheckpointReader::~CheckpointReader() {
  io_.run([&] {
    shards_.clear();
    index_.reset();
  });
}

std::vector<std::string> CheckpointReader::names(std::string const& kind) {
  std::vector<std::string> names;
  on_io_thread([&] {
    if (index_->exists("/" + kind)) names = index_->members("/" + kind);
  });
  return names;
}

std::optional<CheckpointReader::TensorInfo> CheckpointReader::find(std::string const& kind, std::string const& name) {
  std::optional<TensorInfo> info;
  on_io_thread([&] {
    std::string const path = concat("/", kind, "/", name);
    if (index_->exists(path)) info = TensorInfo{tensor(path).dtype, tensor(path).shape};
  });
  return info;
}

hdf5::VirtualDataset const& CheckpointReader::tensor(std::string const& path) {
  if (path == tensor_path_) return tensor_;
  tensor_path_.clear();
  tensor_ = index_->read_virtual(path);
  tensor_path_ = path;
  return tensor_;
}

hdf5::File& CheckpointReader::shard(std::string const& name) {
  auto const open = std::find_if(shards_.begin(), shards_.end(), [&](Shard const& s) { return s.name == name; });
  if (open != shards_.end()) {
    std::rotate(shards_.begin(), open, open + 1);
    return shards_.front().file;
  }
  auto const size = sizes_.find(name);
  validate(plain_name(name) && size != sizes_.end(), "its index names the unknown shard \"", name, "\"");
  std::error_code error;
  auto const bytes = std::filesystem::file_size(folder_ / name, error);
  validate(!error, name, " is missing");
  validate(static_cast<std::int64_t>(bytes) == size->second, name, " has ", bytes, " bytes instead of ", size->second);
  try {
    auto file = hdf5::File::open(folder_ / name);
    validate(file.integer_attribute("/", "step") == header_.step, "it is of another step");
    if (shards_.size() == most_open_shards) shards_.pop_back();
    shards_.push_front({name, std::move(file)});
  } catch (std::exception const& reason) {
    throw Error(concat(name, " is damaged: ", reason_of(reason)));
  }
  return shards_.front().file;
}

void CheckpointReader::load_chunk(std::string const& key, hdf5::Dataset const& dataset, Shape const& offset,
                                  std::int64_t bytes, std::uint64_t checksum) {
  if (key == chunk_key_) return;
  chunk_key_.clear();
  chunk_.resize(static_cast<std::size_t>(bytes));
  dataset.read_chunk(offset, chunk_);
  validate(XXH3_64bits(chunk_.data(), chunk_.size()) == checksum, "its bytes at ", to_string(offset),
           " do not match their checksum");
  chunk_key_ = key;
}

/// Reads the chunks of a mapping that meet `part`; copies to the piece, if there is one.
void CheckpointReader::read_mapping(hdf5::Mapping const& mapping, DType dtype, Box const& part,
                                    CheckpointPiece const* piece) {
  hdf5::File& file = shard(mapping.file);
  try {
    auto const dataset = file.open_dataset(mapping.dataset);
    ChunkGrid const grid(mapping.box.count, dtype);
    validate(dataset.dtype() == dtype && dataset.shape() == mapping.box.count && dataset.chunk() == grid.chunk,
             "it has another dtype, shape or chunk than the index says");
    auto const checksums = file.read_integers(mapping.dataset + checksum_suffix);
    validate(static_cast<std::int64_t>(checksums.size()) == grid.total, "it has ", checksums.size(),
             " checksums instead of ", grid.total);
    for (std::int64_t i = 0; i < grid.total; ++i) {
      Box const chunk = shift(grid.box(i), mapping.box.begin);
      Box const common = intersect(chunk, part);
      if (common.count.count() == 0) continue;
      load_chunk(concat(mapping.file, mapping.dataset, ":", i), dataset, grid.offset(i), grid.bytes,
                 checksums[static_cast<std::size_t>(i)]);
      if (!piece) continue;
      validate(all_finite(chunk_.data(), dtype, chunk.count.count()), "its values at ", to_string(grid.offset(i)),
               " are not finite");
      unpack(common, chunk_.data(), dtype, chunk, piece->data, piece->box);
    }
  } catch (std::exception const& reason) {
    throw Error(concat(mapping.dataset, " in ", mapping.file, " is damaged: ", reason_of(reason)));
  }
}

void CheckpointReader::read_piece(CheckpointPiece const& piece) {
  check_piece(piece);
  std::string const path = concat("/", piece.kind, "/", piece.name);
  validate(index_->exists(path), "it holds no ", path.substr(1), ": it is of another model");
  auto const& whole_tensor = tensor(path);
  validate(whole_tensor.shape == piece.shape, path.substr(1), " has the shape ", to_string(whole_tensor.shape),
           " in it, not ", to_string(piece.shape), ": it is of another model");
  std::int64_t restored = 0;
  for (auto const& mapping : whole_tensor.mappings) {
    Box const part = intersect(mapping.box, piece.box);
    if (part.count.count() == 0) continue;
    read_mapping(mapping, whole_tensor.dtype, part, &piece);
    restored += part.count.count();
  }
  validate(restored == piece.box.count.count(), "only ", restored, " of ", piece.box.count.count(), " elements of ",
           path.substr(1), " are in it");
}

void CheckpointReader::read(std::span<CheckpointPiece const> pieces) {
  on_io_thread([&] {
    for (CheckpointPiece const& piece : pieces) read_piece(piece);
  });
}

void CheckpointReader::check_sizes() {
  on_io_thread([&] {
    for (auto const& [name, bytes] : sizes_) {
      std::error_code error;
      auto const there = std::filesystem::file_size(folder_ / name, error);
      validate(plain_name(name) && !error, name, " is missing");
      validate(static_cast<std::int64_t>(there) == bytes, name, " has ", there, " bytes instead of ", bytes);
    }
  });
}

void CheckpointReader::check_bytes() {
  check_sizes();
  on_io_thread([&] {
    for (std::string const& kind : index_->members("/")) {
      if (kind == "config" || kind == "info" || kind == "shards") continue;
      for (std::string const& name : index_->members("/" + kind)) {
        auto const& whole_tensor = tensor("/" + kind + "/" + name);
        for (auto const& mapping : whole_tensor.mappings)
          read_mapping(mapping, whole_tensor.dtype, mapping.box, nullptr);
      }
    }
  });
}

}  // namespace selenite
