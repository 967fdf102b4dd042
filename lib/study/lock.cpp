#include "study/lock.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <signal.h>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

#include "core/error.hpp"
#include "core/text.hpp"
#include "core/toml.hpp"

namespace selenite {
namespace {

[[noreturn]] void io_error(std::string const& what, std::string const& file, int code) {
  throw Error(concat("Can't ", what, " ", file, " (", std::strerror(code),
                     "). Free some room or check the permissions; what was there is still there."));
}

std::string host_name() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

/// The pid of a holder on this host that no longer lives was killed: only its child can still hold the lock.
bool holder_is_dead(std::string const& text) {
  auto const words = split(std::string(trim(text)), ' ');
  if (words.size() != 2 || words[1] != host_name()) return false;
  auto const pid = static_cast<pid_t>(std::strtol(words[0].c_str(), nullptr, 10));
  return pid > 0 && kill(pid, 0) != 0 && errno == ESRCH;
}

}  // namespace

FolderLock::FolderLock(std::string const& folder, double patience_seconds) {
  std::string const file = folder + "/driver.lock";
  descriptor_ = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0) io_error("open", file, errno);
  auto const limit = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience_seconds);
  while (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    int const code = errno;
    std::string const holder(trim(read_text_file(file, "lock")));
    bool const dead = holder_is_dead(holder);
    if (code == EINTR || (code == EWOULDBLOCK && dead && std::chrono::steady_clock::now() < limit)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    close(descriptor_);
    if (code != EWOULDBLOCK) io_error("lock", file, code);
    if (dead)
      throw Error(concat("A run that the killed driver ", holder, " started still goes on in ", folder, " (it holds ",
                         file, "). Wait for it, or end it."));
    throw Error(concat("Another driver is at work in ", folder, " (process ", holder.empty() ? "unknown" : holder,
                       "; two would run points twice). Wait for it, or use another --folder."));
  }
  std::string const me = concat(getpid(), " ", host_name(), "\n");
  if (ftruncate(descriptor_, 0) != 0 ||
      pwrite(descriptor_, me.data(), me.size(), 0) != static_cast<ssize_t>(me.size())) {
    int const code = errno;
    close(descriptor_);
    io_error("write", file, code);
  }
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace selenite
