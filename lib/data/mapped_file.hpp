#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>

namespace selenite {

/// A whole file mapped for reading. Moves, does not copy; an empty file has an empty span.
/// Throws Error naming the file and the system's reason if it cannot be opened or mapped.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(std::filesystem::path const& path);
  MappedFile(MappedFile&& other) noexcept { swap(other); }
  MappedFile& operator=(MappedFile&& other) noexcept {
    swap(other);
    return *this;
  }
  ~MappedFile();

  std::span<std::byte const> bytes() const { return {data_, size_}; }
  std::int64_t size() const { return static_cast<std::int64_t>(size_); }
  std::filesystem::path const& path() const { return path_; }

 private:
  void swap(MappedFile& other) noexcept;
  std::filesystem::path path_;
  std::byte const* data_ = nullptr;
  std::size_t size_ = 0;
};

/// The little-endian value of type T at a byte address of any alignment.
template <class T>
T load_unaligned(std::byte const* address) {
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
}

}  // namespace selenite
