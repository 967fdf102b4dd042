#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "data/mapped_file.hpp"

namespace selenite {

/// How numpy names an element type in the header of a .npy file.
template <class T>
struct npy_type;
template <>
struct npy_type<std::int16_t> {
  static constexpr std::string_view name = "<i2";
};
template <>
struct npy_type<std::int32_t> {
  static constexpr std::string_view name = "<i4";
};
template <>
struct npy_type<std::int64_t> {
  static constexpr std::string_view name = "<i8";
};
template <>
struct npy_type<std::uint32_t> {
  static constexpr std::string_view name = "<u4";
};

/// Writes a C-ordered .npy file that numpy.load reads, followed by a trailer with a checksum of the data (readers of
/// .npy stop before it). It is written under a name of its own and renamed, so that several processes may write the
/// same file.
void write_npy(std::filesystem::path const& path, std::string_view type, std::span<std::int64_t const> shape,
               std::span<std::byte const> data);

/// A .npy file of write_npy, mapped and checked: sizes, header and checksum (on all threads). Throws Error naming what
/// is wrong.
class NpyFile {
 public:
  NpyFile() = default;
  explicit NpyFile(std::filesystem::path const& path);
  std::string const& type() const { return type_; }
  std::vector<std::int64_t> const& shape() const { return shape_; }
  std::span<std::byte const> data() const { return data_; }
  std::filesystem::path const& path() const { return file_.path(); }

 private:
  void parse_header(std::string_view header);
  MappedFile file_;
  std::string type_;
  std::vector<std::int64_t> shape_;
  std::span<std::byte const> data_;
};

/// An array that is either held in memory or mapped from a .npy file. Moves, does not copy.
template <class T>
class IndexArray {
 public:
  IndexArray() = default;
  explicit IndexArray(std::vector<T> values) : values_(std::move(values)), view_(values_) {}
  explicit IndexArray(NpyFile file) : file_(std::move(file)) {
    validate(file_.type() == npy_type<T>::name, "'", file_.path().string(), "' holds ", file_.type(), " (",
             npy_type<T>::name, " is needed). Delete it; it is made again.");
    view_ = {reinterpret_cast<T const*>(file_.data().data()), file_.data().size() / sizeof(T)};
  }
  std::span<T const> view() const { return view_; }
  std::int64_t size() const { return static_cast<std::int64_t>(view_.size()); }
  T operator[](std::int64_t i) const { return view_[static_cast<std::size_t>(i)]; }

 private:
  std::vector<T> values_;
  NpyFile file_;
  std::span<T const> view_;  // of one of the two, which keep their addresses when moved
};

/// A 64-bit hash (xxh3) of bytes, taken in pieces by all threads; the same for any number of threads.
std::uint64_t hash_bytes(std::span<std::byte const> bytes);

}  // namespace selenite
