#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "io/json.hpp"

namespace selenite {

/// Something that took time on a thread of a process; times in seconds from a common origin.
struct TraceSpan {
  std::int64_t process = 0, thread = 0;
  std::string name, category;
  double start = 0, end = 0;
  JsonObject details{};  ///< what a viewer shows when the span is chosen
};

/// Spans in the Trace Event Format, which chrome://tracing and Perfetto show: a block of rows a process, a row a
/// thread, spans inside each other below each other. One event a line, times to the nanosecond.
class ChromeTrace {
 public:
  void name_process(std::int64_t process, std::string const& name);
  void name_thread(std::int64_t process, std::int64_t thread, std::string const& name);
  void add(TraceSpan const& span);
  /// The file's text.
  std::string text() const { return opening + events_ + closing; }
  /// One file's text from those of several.
  static std::string join(std::vector<std::string> const& texts);

 private:
  static constexpr char const* opening = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n";
  static constexpr char const* closing = "\n]}\n";
  void append(JsonObject const& event);
  void name(std::string const& what, std::int64_t process, std::int64_t thread, std::string const& name);

  std::string events_;
};

}  // namespace selenite
