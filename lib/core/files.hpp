#pragma once
#include <cstdint>
#include <exception>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace selenite {

/// An open file by its descriptor, for what standard streams cannot: reserving room, waiting for the disk.
/// Every failure throws Error with the path and the system's reason.
class OpenFile {
 public:
  enum class Mode : std::uint8_t { read, write, append };
  OpenFile(std::filesystem::path const& path, Mode mode);  ///< write and append create what is missing; none cuts
  ~OpenFile();
  OpenFile(OpenFile const&) = delete;
  OpenFile& operator=(OpenFile const&) = delete;

  void write(std::string_view text);
  /// Reads from `first`; returns the bytes that there were.
  std::int64_t read(std::int64_t first, std::span<char> to) const;
  void truncate(std::int64_t bytes);
  /// Reserves room for that size without changing the size. Throws if the disk or the process's limit has less; a file
  /// system that cannot tell is no error.
  void reserve(std::int64_t bytes);
  /// Starts writing [first, first + bytes) to the disk, without waiting. A hint: errors show up in sync().
  void start_writeback(std::int64_t first, std::int64_t bytes);
  std::int64_t size() const;
  /// Waits until the file is on stable storage.
  void sync();
  int descriptor() const { return descriptor_; }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// What an exception says, in the grammar of errors where it is one of std::filesystem.
std::string message_of(std::exception const& error);
/// What went wrong, without the advice: for a message that goes on.
std::string reason_of(std::exception const& error);
/// Makes the names in a folder survive a power cut.
void sync_folder(std::filesystem::path const& folder);
/// Bytes that this user may still write there; -1 if the system does not say.
std::int64_t free_bytes(std::filesystem::path const& folder);
/// Is there a file or folder of that name? Throws Error if the system doesn't let us look.
bool is_there(std::filesystem::path const& path);
/// Makes a folder and its parents. Throws Error.
void make_folder(std::filesystem::path const& folder);
/// rename(2) that replaces, then syncs the folder. Throws Error.
void rename_durably(std::filesystem::path const& from, std::filesystem::path const& to);
/// Writes a small file whole or not at all: under a temporary name beside it, synced, renamed. Throws Error.
void write_file_atomically(std::filesystem::path const& path, std::string_view text);

}  // namespace selenite
