#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/param.hpp"
#include "core/tensor.hpp"

/// What the suite needs of HDF5, checked and closed by itself. Every failure throws Error with the library's own
/// reason. To be called from the I/O thread only. Files use the format of HDF5 1.10, whose metadata carry checksums.
namespace selenite::hdf5 {

/// Owns one HDF5 identifier.
class Handle {
 public:
  using Close = int (*)(std::int64_t);
  Handle() = default;
  Handle(std::int64_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(other.id_), close_(other.close_) { other.id_ = -1; }
  Handle& operator=(Handle&& other) noexcept;
  ~Handle() { reset(); }
  std::int64_t get() const { return id_; }
  /// Closes, ignoring errors.
  void reset();
  /// Gives up ownership.
  std::int64_t release();

 private:
  std::int64_t id_ = -1;
  Close close_ = nullptr;
};

/// A chunked dataset whose chunks are moved whole, without conversion or filter.
class Dataset {
 public:
  explicit Dataset(Handle handle) : handle_(std::move(handle)) {}
  DType dtype() const;
  Shape shape() const;
  /// Chunk extents; throws if the dataset has none.
  Shape chunk() const;
  /// `offset`: the first element of the chunk; `bytes`: the whole chunk, also where it hangs over the edge.
  void write_chunk(Shape const& offset, std::span<std::byte const> bytes);
  /// Throws if the file holds no chunk there, or one of another size.
  void read_chunk(Shape const& offset, std::span<std::byte> bytes) const;

 private:
  Handle handle_;
};

/// A box of a virtual dataset and the whole dataset of another file, relative to this one, that fills it.
struct Mapping {
  Box box;
  std::string file, dataset;
};
struct VirtualDataset {
  DType dtype = DType::fp32;
  Shape shape;
  std::vector<Mapping> mappings;
};

class File {
 public:
  static File create(std::filesystem::path const& path);  ///< replaces what is there
  static File open(std::filesystem::path const& path);    ///< to read
  File(File&&) noexcept = default;
  File& operator=(File&&) noexcept = default;
  /// A created file that was not closed is given up: what it holds is lost.
  ~File();
  /// Writes out and closes.
  void close();

  void create_group(std::string const& path);
  Dataset create_dataset(std::string const& path, DType dtype, Shape const& shape, Shape const& chunk);
  Dataset open_dataset(std::string const& path) const;
  /// What no file fills reads as NaN (zero for integers).
  void create_virtual(std::string const& path, VirtualDataset const& description);
  VirtualDataset read_virtual(std::string const& path) const;

  void write_integers(std::string const& path, std::span<std::uint64_t const> values);
  std::vector<std::uint64_t> read_integers(std::string const& path) const;
  void write_text(std::string const& path, std::string_view text);
  std::string read_text(std::string const& path) const;

  /// Attributes of the group or dataset at `path`.
  void write_attribute(std::string const& path, std::string const& name, std::int64_t value);
  void write_attribute(std::string const& path, std::string const& name, std::string_view text);
  std::int64_t integer_attribute(std::string const& path, std::string const& name) const;
  std::string text_attribute(std::string const& path, std::string const& name) const;
  std::vector<std::string> attribute_names(std::string const& path) const;

  bool exists(std::string const& path) const;  ///< all of its groups, too
  std::vector<std::string> members(std::string const& group) const;

 private:
  File(Handle handle, bool writing) : handle_(std::move(handle)), writing_(writing) {}
  Handle handle_;
  bool writing_;
};

/// Version of the library in use: "1.10.8".
std::string library_version();

}  // namespace selenite::hdf5
