#include "io/checkpoint_index.hpp"

#include <algorithm>

#include "io/boxes.hpp"
#include "io/seal.hpp"

namespace selenite {
namespace {

/// Throws if the boxes of a tensor do not tile it: their volumes must add up, and no two may overlap.
void check_tiling(std::string const& name, hdf5::VirtualDataset& tensor) {
  auto& mappings = tensor.mappings;
  std::sort(mappings.begin(), mappings.end(), [](auto const& a, auto const& b) {
    for (int d = 0; d < a.box.begin.rank(); ++d)
      if (a.box.begin[d] != b.box.begin[d]) return a.box.begin[d] < b.box.begin[d];
    return false;
  });
  std::int64_t covered = 0;
  for (std::size_t i = 0; i < mappings.size(); ++i) {
    Box const& box = mappings[i].box;
    covered += box.count.count();
    for (std::size_t j = i + 1; j < mappings.size() && mappings[j].box.begin[0] < box.begin[0] + box.count[0]; ++j)
      validate(intersect(box, mappings[j].box).count.count() == 0, "Two writers hold the same part of ", name, " (",
               mappings[i].file, " and ", mappings[j].file, "). One of them must write it.");
  }
  validate(covered == tensor.shape.count(), "The writers hold ", covered, " of the ", tensor.shape.count(),
           " elements of ", name, ". Every element needs a writer.");
}

}  // namespace

TensorMap join_tables(std::span<PieceTable const> tables) {
  TensorMap tensors;
  for (PieceTable const& table : tables) {
    auto const datasets = dataset_names(table.pieces);
    for (std::size_t i = 0; i < table.pieces.size(); ++i) {
      CheckpointPiece const& piece = table.pieces[i];
      auto [place, added] = tensors.try_emplace({piece.kind, piece.name});
      hdf5::VirtualDataset& tensor = place->second;
      if (added) tensor.dtype = piece.data.dtype(), tensor.shape = piece.shape;
      validate(tensor.dtype == piece.data.dtype() && tensor.shape == piece.shape, "Writers disagree about ", piece.name,
               ": ", name(tensor.dtype), " ", to_string(tensor.shape), " and ", name(piece.data.dtype()), " ",
               to_string(piece.shape), ".");
      if (!datasets[i].empty()) tensor.mappings.push_back({piece.box, shard_name(table.writer), datasets[i]});
    }
  }
  for (auto& [key, tensor] : tensors) check_tiling(key.first + "/" + key.second, tensor);
  return tensors;
}

void write_index(std::filesystem::path const& path, CheckpointHeader const& header, ShardSizes const& shards,
                 TensorMap const& tensors) {
  auto file = hdf5::File::create(path);
  file.write_attribute("/", "format", header.format);
  file.write_attribute("/", "step", header.step);
  file.write_attribute("/", "consumed_samples", header.consumed_samples);
  file.write_text("/config", header.config);
  file.create_group("/info");
  for (auto const& [key, value] : header.info) file.write_attribute("/info", key, value);
  file.create_group("/shards");
  for (auto const& [name, bytes] : shards) file.write_attribute("/shards", name, bytes);
  for (auto const& [key, tensor] : tensors) {
    if (!file.exists("/" + key.first)) file.create_group("/" + key.first);
    file.create_virtual("/" + key.first + "/" + key.second, tensor);
  }
  file.close();
  seal_file(path);
}

CheckpointHeader read_header(hdf5::File const& index) {
  CheckpointHeader header;
  header.format = index.integer_attribute("/", "format");
  validate(header.format >= 1 && header.format <= CheckpointHeader::current_format, "It has format ", header.format,
           ", this program reads up to ", CheckpointHeader::current_format, ".");
  header.step = index.integer_attribute("/", "step");
  header.consumed_samples = index.integer_attribute("/", "consumed_samples");
  header.config = index.read_text("/config");
  for (std::string const& key : index.attribute_names("/info")) header.info[key] = index.text_attribute("/info", key);
  return header;
}

ShardSizes read_shard_sizes(hdf5::File const& index) {
  ShardSizes sizes;
  for (std::string const& name : index.attribute_names("/shards"))
    sizes[name] = index.integer_attribute("/shards", name);
  return sizes;
}

}  // namespace selenite
