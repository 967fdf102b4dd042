#pragma once
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

#include "core/element.hpp"
#include "io/boxes.hpp"
#include "io/checkpoint_folder.hpp"
#include "io/checkpoint_reader.hpp"
#include "io/checkpoint_writer.hpp"

namespace selenite::test {

/// A folder of its own that goes when the test ends.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(std::string const& parent = std::filesystem::temp_directory_path()) {
    std::string pattern = parent + "/selenite-io-XXXXXX";
    if (!mkdtemp(pattern.data())) throw Error("no temporary folder");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(TemporaryFolder const&) = delete;
  TemporaryFolder& operator=(TemporaryFolder const&) = delete;
  std::filesystem::path const& path() const { return path_; }
  std::filesystem::path operator/(std::string const& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// A logical tensor with known values: element i of tensor `seed` is a small integer, exact in every dtype but uint8.
struct Known {
  std::string kind, name;
  DType dtype;
  Shape shape;
  std::uint64_t seed = 0;
};
inline double known_value(Known const& tensor, std::int64_t element) {
  std::uint64_t x =
      (static_cast<std::uint64_t>(element) + 1) * 0x9e3779b97f4a7c15ull + tensor.seed * 0xbf58476d1ce4e5b9ull;
  x ^= x >> 31;
  return static_cast<double>(x * 0x94d049bb133111ebull >> 57);  // 0 .. 127
}

/// The global element index of element `i` of a box.
inline std::int64_t global_element(Box const& box, Shape const& shape, std::int64_t i) {
  std::int64_t index[4] = {};
  for (int d = shape.rank() - 1; d >= 0; --d) index[d] = box.begin[d] + i % box.count[d], i /= box.count[d];
  std::int64_t element = 0;
  for (int d = 0; d < shape.rank(); ++d) element = element * shape[d] + index[d];
  return element;
}

/// A piece with memory of its own, its rows `gap` elements apart.
struct OwnedPiece {
  CheckpointPiece piece;
  std::vector<std::byte> memory;
  OwnedPiece(Known const& tensor, Box const& box, std::int64_t gap = 0, DType as = DType::fp64, bool convert = false) {
    DType const dtype = convert ? as : tensor.dtype;
    std::int64_t const cols = box.count[-1], rows = cols ? box.count.count() / cols : 0;
    memory.resize(static_cast<std::size_t>((rows * (cols + gap) + 1) * size_of(dtype)), std::byte{0x5a});
    Tensor data(memory.data(), dtype, box.count);
    if (gap) {
      validate(box.count.rank() == 2, "only matrices have gaps here");
      data = Tensor(memory.data(), dtype, Shape{rows, cols + gap}).columns(0, cols);
    }
    piece = {tensor.kind, tensor.name, tensor.shape, box, data};
  }
  OwnedPiece(OwnedPiece&&) = default;
};
inline void fill(OwnedPiece& owned, Known const& tensor) {
  for (std::int64_t i = 0; i < owned.piece.data.count(); ++i)
    store(owned.piece.data, i, known_value(tensor, global_element(owned.piece.box, tensor.shape, i)));
}
/// The number of wrong elements.
inline std::int64_t mismatches(OwnedPiece const& owned, Known const& tensor) {
  std::int64_t wrong = 0;
  for (std::int64_t i = 0; i < owned.piece.data.count(); ++i)
    wrong += load(owned.piece.data, i) != known_value(tensor, global_element(owned.piece.box, tensor.shape, i));
  return wrong;
}

/// Saves `tensors`, cut by rows over `writers`, and commits. Small tensors go to writer 0 whole.
inline std::filesystem::path save_known(IoThread& io, std::filesystem::path const& root,
                                        std::vector<Known> const& tensors, std::int64_t step, int writers,
                                        std::int64_t keep = 0) {
  std::vector<std::string> tables;
  for (int w = 0; w < writers; ++w) {
    std::vector<OwnedPiece> owned;
    std::vector<CheckpointPiece> pieces;
    for (Known const& tensor : tensors) {
      Box box = whole(tensor.shape);
      std::int64_t const first = tensor.shape[0] * w / writers, last = tensor.shape[0] * (w + 1) / writers;
      box.begin[0] = first, box.count[0] = last - first;
      owned.emplace_back(tensor, box);
      fill(owned.back(), tensor);
      pieces.push_back(owned.back().piece);
    }
    CheckpointWriter writer(io, staging_bytes(pieces));
    writer.start(partial_folder(root, step), step, pieces, w);
    writer.wait();
    tables.push_back(piece_table(pieces, w));
  }
  CheckpointHeader header;
  header.step = step, header.consumed_samples = step * 8;
  header.config = "[model]\nlayers = 2\n";
  header.info = {{"version", "0.1.0"}, {"layout", "data 4"}, {"empty", ""}};
  return commit_checkpoint(io, root, header, tables, keep);
}

}  // namespace selenite::test
