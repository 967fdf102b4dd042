#pragma once
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "core/error.hpp"
#include "tests/contains.hpp"

namespace selenite::test {

inline std::string read_file(std::filesystem::path const& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void pause_ms(std::int64_t milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

struct ProgramOptions {
  std::filesystem::path errors = {};  ///< file of its standard error; empty: with its output
  std::int64_t address_space = 0;     ///< bytes it may map; 0: as many as it likes
};

/// A program that runs; killed with its owner. Its output goes to a file.
class Program {
 public:
  Program(std::vector<std::string> const& command, std::filesystem::path output, ProgramOptions const& options = {})
      : output_(std::move(output)), pid_(fork()) {
    if (pid_ != 0) return;
    alarm(300);
    setenv("OMP_WAIT_POLICY", "passive", 1);
    setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 1);
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 1);
    int const file = open(output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(file, STDOUT_FILENO);
    dup2(options.errors.empty() ? file : open(options.errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644),
         STDERR_FILENO);
    if (auto const bytes = static_cast<rlim_t>(options.address_space)) {
      rlimit const limit{bytes, bytes};
      setrlimit(RLIMIT_AS, &limit);
    }
    std::vector<char*> arguments;
    for (std::string const& a : command) arguments.push_back(const_cast<char*>(a.c_str()));
    arguments.push_back(nullptr);
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  ~Program() {
    if (pid_ > 0) signal(SIGKILL), wait();
  }
  Program(Program const&) = delete;
  Program& operator=(Program const&) = delete;
  void signal(int number) const { ::kill(pid_, number); }
  /// The exit status, or minus the signal that ended it.
  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  bool ended() {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
  }
  std::vector<pid_t> children() const {
    std::ifstream in(concat("/proc/", pid_, "/task/", pid_, "/children"));
    return {std::istream_iterator<pid_t>(in), {}};
  }
  std::string output() const { return read_file(output_); }

 private:
  std::filesystem::path output_;
  pid_t pid_;
};

}  // namespace selenite::test
