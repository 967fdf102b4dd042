#pragma once
#include <string>

#include "core/file_lock.hpp"

namespace selenite {

/// The lock of a study's folder, for as long as the object lives; a child process may be made to keep it on.
class FolderLock {
 public:
  /// Takes the lock. Throws Error naming the holder if another driver has it; if the holder was killed and only its
  /// child is still ending, waits up to `patience_seconds` for that.
  FolderLock(std::string const& folder, double patience_seconds);
  int descriptor() const { return file_.descriptor(); }

 private:
  FileLock file_;
};

}  // namespace selenite
