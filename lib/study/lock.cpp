#include "study/lock.hpp"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/error.hpp"

namespace selenite {

FolderLock::FolderLock(std::string const& folder, double patience_seconds) : file_(folder + "/driver.lock") {
  auto const limit = std::chrono::steady_clock::now() + std::chrono::duration<double>(patience_seconds);
  while (int const code = file_.take()) {
    if (code != EWOULDBLOCK)
      throw Error(concat("Can't lock ", file_.path().string(), " (", std::strerror(code),
                         "). Use a --folder on a file system with locks."));
    std::string const holder = file_.holder();
    bool const dead = file_.holder_is_dead();
    if (dead && std::chrono::steady_clock::now() < limit) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    if (dead)
      throw Error(concat("A run that the killed driver ", holder, " started still goes on in ", folder, " (it holds ",
                         file_.path().string(), "). Wait for it, or end it."));
    throw Error(concat("Another driver is at work in ", folder, " (process ", holder.empty() ? "unknown" : holder,
                       "; two would run points twice). Wait for it, or use another --folder."));
  }
}

}  // namespace selenite
