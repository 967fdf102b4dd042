#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.hpp"
#include "core/parallel_for.hpp"

namespace selenite::test {

/// Number of draws of a random test: `usual`, or times SELENITE_TEST_DRAWS for a long run by hand.
inline int draws(int usual) {
  char const* const factor = std::getenv("SELENITE_TEST_DRAWS");
  return factor ? usual * std::max(1, std::atoi(factor)) : usual;
}

/// A child process that runs a job; killed with its owner.
class Child {
 public:
  template <class Job>
  explicit Child(Job const& job, unsigned seconds = 60) : pid_(fork()) {
    if (pid_ != 0) return;
    alarm(seconds);                                                                     // SIGALRM ends it
    for (int const s : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL}) signal(s, SIG_DFL);  // not Boost.Test's
    set_threads(1);  // the pool of the parent's OpenMP does not live on in a child
    int code = 99;
    try {
      code = job();
    } catch (std::exception const& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
    _exit(code);
  }
  ~Child() { kill(); }
  Child(Child const&) = delete;
  Child& operator=(Child const&) = delete;
  void kill() {
    if (pid_ > 0) ::kill(pid_, SIGKILL), wait();
  }
  /// The exit status, or minus the signal that ended it.
  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_;
};

template <class Job>
int in_child(unsigned seconds, Job const& job) {
  return Child(job, seconds).wait();
}

/// Numbers from a child.
class Pipe {
 public:
  Pipe() {
    if (pipe(ends_) != 0) throw Error("no pipe");
  }
  ~Pipe() { close(ends_[0]), close(ends_[1]); }
  Pipe(Pipe const&) = delete;
  Pipe& operator=(Pipe const&) = delete;
  void send(std::int64_t value) const {
    if (write(ends_[1], &value, sizeof value) != sizeof value) _exit(98);
  }
  /// Waits for a number.
  std::int64_t receive() const {
    std::int64_t value = 0;
    return read(ends_[0], &value, sizeof value) == sizeof value ? value : 0;
  }
  /// The last number that is there, or 0.
  std::int64_t last() const {
    fcntl(ends_[0], F_SETFL, O_NONBLOCK);
    std::int64_t newest = 0;
    while (std::int64_t const value = receive()) newest = value;
    return newest;
  }

 private:
  int ends_[2] = {};
};

/// Files of this process may grow to `bytes` (0: as they like); writing on fails as on a full disk.
inline void limit_file_size(std::int64_t bytes) {
  signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = bytes ? static_cast<rlim_t>(bytes) : limit.rlim_max;
  setrlimit(RLIMIT_FSIZE, &limit);
}

}  // namespace selenite::test
