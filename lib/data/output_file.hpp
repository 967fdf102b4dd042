#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "core/files.hpp"

namespace selenite {

/// A file written from front to back through a buffer. Every failure (a full disk above all) throws Error with the path
/// and the system's reason. The destructor closes without flushing: only what was flushed counts.
class OutputFile {
 public:
  /// Creates the file or empties it.
  explicit OutputFile(std::filesystem::path const& path);
  /// Opens an existing file, cuts it to `size` bytes and goes on from there. Throws if the file is shorter than that.
  OutputFile(std::filesystem::path const& path, std::int64_t size);
  OutputFile(OutputFile const&) = delete;
  OutputFile& operator=(OutputFile const&) = delete;
  ~OutputFile();

  void write(std::span<std::byte const> bytes);
  template <class T>
  void write_value(T const& value) {
    write(std::as_bytes(std::span(&value, 1)));
  }
  /// Bytes written so far, buffered ones included.
  std::int64_t size() const { return flushed_ + static_cast<std::int64_t>(buffer_.size()); }
  void flush();
  /// Flushes and waits until the file is on stable storage.
  void sync();
  std::filesystem::path const& path() const { return path_; }

 private:
  void write_through(std::span<std::byte const> bytes);
  std::filesystem::path path_;
  std::vector<std::byte> buffer_;
  std::int64_t flushed_ = 0;
  int file_ = -1;
};

/// Calls fill(OutputFile&) for a temporary file beside `path`, then renames it to `path` in one step: any number of
/// processes may write the same file, and none sees a part of it. It is not synced; for what can be made again.
void replace_file(std::filesystem::path const& path, std::function<void(OutputFile&)> const& fill);

}  // namespace selenite
