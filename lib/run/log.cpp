#include "run/log.hpp"

#include "io/record.hpp"

namespace selenite {

RunLog::RunLog(std::filesystem::path const& file, Sink sink) : sink_(std::move(sink)) {
  if (!file.empty()) file_.open(file, std::ios::app);
}

void RunLog::line(std::string const& text) {
  if (file_.is_open()) file_ << timestamp() << "  " << text << std::endl;
  if (sink_) sink_(Kind::line, text);
}

void RunLog::progress(std::string const& text) {
  if (sink_) sink_(Kind::progress, text);
}

}  // namespace selenite
