#include "run/signals.hpp"

#include <array>
#include <csignal>
#include <unistd.h>

namespace selenite {
namespace {
// A handler can reach nothing but static memory.
volatile std::sig_atomic_t last_signal = 0;
constexpr std::array<int, 3> taken{SIGTERM, SIGUSR1, SIGINT};
std::array<struct sigaction, taken.size()> before;

void handle(int number) {
  if (number == SIGINT && last_signal == SIGINT) _exit(130);
  last_signal = number;
}
}  // namespace

SignalGuard::SignalGuard() {
  last_signal = 0;
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  for (std::size_t i = 0; i < taken.size(); ++i) sigaction(taken[i], &action, &before[i]);
}

SignalGuard::~SignalGuard() {
  for (std::size_t i = 0; i < taken.size(); ++i) sigaction(taken[i], &before[i], nullptr);
}

int SignalGuard::received() { return last_signal; }

}  // namespace selenite
