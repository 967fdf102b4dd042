#include "run/log.hpp"

#include "core/error.hpp"
#include "io/record.hpp"

namespace selenite {

RunLog::RunLog(std::filesystem::path file, Sink sink, bool first)
    : path_(std::move(file)), sink_(std::move(sink)), first_(first) {}

void RunLog::line(std::string const& text) {
  if (first_) write(text);
}

void RunLog::progress(std::string const& text) {
  if (!first_) return;
  std::lock_guard const lock(mutex_);
  if (sink_) sink_(Kind::progress, text);
}

void RunLog::alarm(std::string const& text) { write(text); }

void RunLog::write(std::string const& text) {
  std::lock_guard const lock(mutex_);
  if (!file_.is_open()) file_.open(path_, std::ios::app);
  file_ << concat(timestamp(), "  ", text, "\n") << std::flush;  // one write: ranks may share the file
  if (sink_) sink_(Kind::line, text);
}

}  // namespace selenite
