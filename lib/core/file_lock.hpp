#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "core/files.hpp"

namespace selenite {

/// The name of this machine.
std::string host_name();

/// An exclusive lock on a file (flock) for as long as the object lives, on which processes of one or several hosts can
/// agree; a child process may be made to keep it on. The file is made if need be and names the holder.
class FileLock {
 public:
  explicit FileLock(std::filesystem::path path) : path_(std::move(path)) {}
  /// Tries to take the lock, without waiting. 0; EWOULDBLOCK if another has it; or why the file system cannot lock.
  int take();
  /// "pid host" of the process that has it, or had it last; empty if unknown.
  std::string holder() const;
  /// Whether the holder was a process of this host that no longer lives: then only its child can still have the lock.
  bool holder_is_dead() const;
  /// Removes the file of a lock that was taken, for those who leave nothing behind.
  void remove_file();
  std::filesystem::path const& path() const { return path_; }
  int descriptor() const { return file_->descriptor(); }

 private:
  bool is_at_path() const;
  std::filesystem::path path_;
  std::unique_ptr<OpenFile> file_;
};

}  // namespace selenite
