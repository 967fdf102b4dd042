#pragma once
#include <string>
#include <utility>

namespace selenite {

/// An exclusive lock on a file (flock) for as long as the object lives; a child process may be made to keep it on.
class FolderLock {
 public:
  /// Takes the lock of a study's folder. Throws Error naming the holder if another driver has it; if the holder was
  /// killed and only its child is still ending, waits up to `patience_seconds` for that.
  FolderLock(std::string const& folder, double patience_seconds);
  ~FolderLock();
  FolderLock(FolderLock const&) = delete;
  FolderLock& operator=(FolderLock const&) = delete;
  FolderLock(FolderLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_ = -1;
};

}  // namespace selenite
