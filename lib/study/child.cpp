#include "study/child.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "core/error.hpp"
#include "core/toml.hpp"

namespace selenite {
namespace {

/// Between fork and exec: only calls that are safe there. Reports errno through `report` and ends if exec fails.
[[noreturn]] void become(char* const* arguments, ChildOptions const& options, int output, int report, pid_t parent) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, options.signal_if_we_die);
  if (getppid() != parent) _exit(127);  // it died before prctl
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (options.keep_descriptor >= 0) fcntl(options.keep_descriptor, F_SETFD, 0);
  int const input = open("/dev/null", O_RDONLY);
  if (dup2(input, 0) >= 0 && dup2(output, 1) >= 0 && dup2(output, 2) >= 0) execvp(arguments[0], arguments);
  int const code = errno;
  static_cast<void>(!write(report, &code, sizeof code));
  _exit(127);
}

}  // namespace

Child::Child(std::vector<std::string> const& command, ChildOptions const& options) {
  std::vector<char*> arguments;
  for (std::string const& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  int const output = open(options.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  validate(output >= 0, "Can't write ", options.output, " (", std::strerror(errno),
           "). Free some room or check the permissions.");
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) {
    close(output);
    throw Error(
        concat("Can't start ", command[0], " (", std::strerror(errno), "). Close some programs and try again."));
  }
  pid_t const parent = getpid();
  pid_ = fork();
  if (pid_ == 0) become(arguments.data(), options, output, report[1], parent);
  if (pid_ > 0) setpgid(pid_, pid_);  // both do it: whoever comes first
  int code = pid_ < 0 ? errno : 0;
  close(output);
  close(report[1]);
  ssize_t n = -1;
  if (pid_ > 0)
    while ((n = read(report[0], &code, sizeof code)) < 0 && errno == EINTR) {
    }
  close(report[0]);
  if (n > 0) waitpid(pid_, nullptr, 0), ended_ = Ended{127, 0};
  if (code != 0)
    throw Error(
        concat("Can't start ", command[0], " (", std::strerror(code), "). Check that it is installed and in PATH."));
}

Child::~Child() {
  if (ended_) return;
  kill(-pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

std::optional<Ended> Child::wait_for(std::chrono::milliseconds time) {
  auto const limit = std::chrono::steady_clock::now() + time;
  while (!ended_) {
    int status = 0;
    pid_t const done = waitpid(pid_, &status, WNOHANG);
    if (done == pid_) {
      ended_ = WIFSIGNALED(status) ? Ended{0, WTERMSIG(status)} : Ended{WEXITSTATUS(status), 0};
    } else if (std::chrono::steady_clock::now() >= limit) {
      return std::nullopt;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  return ended_;
}

void Child::send_signal(int signal) {
  if (!ended_) kill(-pid_, signal);
}

Answer ask(std::vector<std::string> const& command, double seconds) {
  std::string file = (std::filesystem::temp_directory_path() / "selenite-answer-XXXXXX").string();
  int const descriptor = mkstemp(file.data());
  validate(descriptor >= 0, "Can't write ", file, " (", std::strerror(errno), "). Free some room, or set TMPDIR.");
  close(descriptor);
  Answer answer;
  try {
    Child child(command, {file});
    auto const end = child.wait_for(std::chrono::milliseconds(static_cast<std::int64_t>(1000 * seconds)));
    answer.exit_code = !end ? 124 : end->signal ? 128 + end->signal : end->exit_code;
    answer.text = read_text_file(file, "answer");
  } catch (Error const& e) {
    answer = {127, e.what()};
  }
  unlink(file.c_str());
  return answer;
}

}  // namespace selenite
