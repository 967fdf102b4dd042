#pragma once
#include <chrono>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace selenite {

struct ChildOptions {
  std::string output;        ///< file that takes its standard output and error
  int keep_descriptor = -1;  ///< a descriptor that it keeps open beyond exec
  int signal_if_we_die = 9;  ///< what the kernel sends it when this process dies
};

/// How a process ended: its exit code, or the signal that ended it.
struct Ended {
  int exit_code = 0;
  int signal = 0;
};

/// A child process in a process group of its own, so that a terminal's interrupt reaches it only through us. It is
/// killed if this object goes away first.
class Child {
 public:
  /// Starts command[0], looked up in PATH. Throws Error with the system's reason if it can't be started.
  Child(std::vector<std::string> const& command, ChildOptions const& options);
  ~Child();
  Child(Child const&) = delete;
  Child& operator=(Child const&) = delete;

  /// Waits at most so long for its end.
  std::optional<Ended> wait_for(std::chrono::milliseconds time);
  void send_signal(int signal);

 private:
  pid_t pid_ = -1;
  std::optional<Ended> ended_;
};

/// What a command printed (output and error) and how it ended; 127 with the reason if it can't be started, 124 if it
/// did not end in `seconds` and was killed.
struct Answer {
  int exit_code = 0;  ///< 128 + signal if a signal ended it
  std::string text;
};
Answer ask(std::vector<std::string> const& command, double seconds = 60);

}  // namespace selenite
