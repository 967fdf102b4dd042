#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace selenite {

/// A file read from front to back, decompressed on the way if its name ends in .gz or .zst.
/// Every failure throws Error with the file's name; so does compressed data that is corrupt or ends too early.
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
/// pattern without a file, and for a folder.
std::vector<std::filesystem::path> expand_inputs(std::vector<std::string> const& patterns);

/// The name without .gz or .zst.
std::filesystem::path uncompressed_name(std::filesystem::path const& path);

}  // namespace selenite
