#pragma once
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <string>

namespace selenite {

/// Where the words of a run go: plain lines with the time into a file, and to a sink of main's choice (the library
/// itself prints nothing). The sink is told whether a text is a line to keep or a progress line that the next one
/// replaces.
class RunLog {
 public:
  enum class Kind : std::uint8_t { line, progress };
  using Sink = std::function<void(Kind, std::string const&)>;
  /// Rank 0 logs; of the others the alarms alone are written.
  RunLog(std::filesystem::path file, Sink sink, bool first);
  void line(std::string const& text);
  void progress(std::string const& text);
  /// A line that any rank, in any of its threads, has to say, because it may be the last one.
  void alarm(std::string const& text);

 private:
  void write(std::string const& text);

  std::filesystem::path path_;
  Sink sink_;
  bool first_;
  std::mutex mutex_;
  std::ofstream file_;  ///< open from the first line on
};

}  // namespace selenite
