#include "apps/preprocess/progress.hpp"

#include <algorithm>
#include <cstdio>
#include <unistd.h>

namespace selenite::app {

std::string grouped(std::int64_t number) {
  std::string text = std::to_string(number);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > (number < 0 ? 1 : 0); at -= 3) {
    text.insert(static_cast<std::size_t>(at), ",");
  }
  return text;
}

std::string duration(double seconds) {
  char text[32];
  auto const whole = static_cast<long>(seconds + 0.5);
  if (seconds < 59.95) {
    std::snprintf(text, sizeof text, "%.1fs", seconds);
  } else if (whole < 3600) {
    std::snprintf(text, sizeof text, "%ldm%02lds", whole / 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%ldh%02ldm", whole / 3600, whole / 60 % 60);
  }
  return text;
}

ProgressLine::ProgressLine()
    : terminal_(isatty(STDERR_FILENO) == 1), start_(std::chrono::steady_clock::now()), last_(start_) {}

double ProgressLine::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

void ProgressLine::show(TokenizeProgress const& progress) {
  auto const now = std::chrono::steady_clock::now();
  if (now - last_ < (terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(10000))) return;
  last_ = now;
  double const elapsed = seconds();
  double const done = progress.file_bytes_total > 0
                          ? static_cast<double>(progress.file_bytes) / static_cast<double>(progress.file_bytes_total)
                          : 1.0;
  double const text = static_cast<double>(progress.counts.text_bytes - progress.resumed_bytes);
  double const rest = static_cast<double>(progress.counts.text_bytes) * (1 / std::max(done, 1e-9) - 1);
  std::string const left = text > 0 ? duration(rest * elapsed / text) : "?";
  std::string bar;
  if (terminal_) {
    int const filled = static_cast<int>(20 * std::min(done, 1.0));
    bar = "[" + std::string(static_cast<std::size_t>(filled), '#') +
          std::string(static_cast<std::size_t>(20 - filled), '.') + "] ";
  }
  std::fprintf(stderr, "%s%s%5.1f%%  %.0f MB  %.1f MB/s  %s documents  %s tokens  ETA %s%s", terminal_ ? "\r" : "",
               bar.c_str(), 100 * done, static_cast<double>(progress.counts.text_bytes) / 1e6, text / elapsed / 1e6,
               grouped(progress.counts.documents).c_str(), grouped(progress.counts.tokens).c_str(), left.c_str(),
               terminal_ ? "\033[K" : "\n");
  std::fflush(stderr);
  drawn_ = terminal_;
}

void ProgressLine::finish() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

}  // namespace selenite::app
