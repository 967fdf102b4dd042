#include "core/file_lock.hpp"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.hpp"
#include "core/text.hpp"

namespace selenite {
std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

int FileLock::take() {
  do {
    file_ = std::make_unique<OpenFile>(path_, OpenFile::Mode::write);
    while (flock(file_->descriptor(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EINTR) return errno;
    }
    // Its holder may have removed the file between the two calls: a lock on that would keep nobody out.
  } while (!is_at_path());
  file_->truncate(0);
  file_->write(concat(getpid(), " ", host_name(), "\n"));
  return 0;
}

bool FileLock::is_at_path() const {
  struct stat ours {};
  struct stat there {};
  return fstat(file_->descriptor(), &ours) == 0 && stat(path_.c_str(), &there) == 0 && ours.st_dev == there.st_dev &&
         ours.st_ino == there.st_ino;
}

std::string FileLock::holder() const {
  std::array<char, 512> text{};
  auto const size = static_cast<std::size_t>(file_->read(0, text));
  return std::string(trim(std::string_view(text.data(), size)));
}

bool FileLock::holder_is_dead() const {
  auto const words = split(holder(), ' ');
  if (words.size() != 2 || words[1] != host_name()) return false;
  auto const pid = static_cast<pid_t>(std::strtol(words[0].c_str(), nullptr, 10));
  return pid > 0 && kill(pid, 0) != 0 && errno == ESRCH;
}

void FileLock::remove_file() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

}  // namespace selenite
