#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace selenite {

/// A file read from front to back, decompressed on the way if it is gzip or zstd by its first bytes or its name (.gz,
/// .zst). Every failure throws Error with the file's name; so does compressed data that is corrupt, ends too early or
/// is of another kind (xz, bzip2, zip, lz4).
class TextSource {
 public:
  static std::unique_ptr<TextSource> open(std::filesystem::path const& path);
  virtual ~TextSource() = default;
  /// Fills `out` as far as there is text; fewer bytes than asked for only at the end.
  virtual std::size_t read(std::span<char> out) = 0;
  /// Goes `bytes` of text forward. Throws Error if the text ends before.
  virtual void skip(std::int64_t bytes);
  /// Bytes of the file itself that have been consumed.
  virtual std::int64_t file_bytes() const = 0;
};

/// Files that `patterns` name: each a path or a glob (*, ?, [...]), whose matches are sorted. Throws Error for a
/// pattern without a file, for a folder or a pipe, and for a file that TextSource cannot read.
std::vector<std::filesystem::path> expand_inputs(std::vector<std::string> const& patterns);

/// The extension of a name, in lower case.
std::string extension_of(std::filesystem::path const& path);
/// The name without .gz or .zst, in either case.
std::filesystem::path uncompressed_name(std::filesystem::path const& path);

}  // namespace selenite
