#pragma once
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

namespace selenite {

/// Where the words of a run go: plain lines with the time into a file, and to a sink of main's choice (the library
/// itself prints nothing). The sink is told whether a text is a line to keep or a progress line that the next one
/// replaces.
class RunLog {
 public:
  enum class Kind : std::uint8_t { line, progress };
  using Sink = std::function<void(Kind, std::string const&)>;
  /// `file` may be empty: ranks other than 0 write none.
  RunLog(std::filesystem::path const& file, Sink sink);
  void line(std::string const& text);
  void progress(std::string const& text);

 private:
  std::ofstream file_;
  Sink sink_;
};

}  // namespace selenite
