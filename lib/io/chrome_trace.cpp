#include "io/chrome_trace.hpp"

#include <cmath>
#include <string_view>

#include "core/error.hpp"

namespace selenite {

namespace {
double nanoseconds(double seconds) { return std::round(seconds * 1e9); }
}  // namespace

void ChromeTrace::append(JsonObject const& event) { events_ += concat(events_.empty() ? "" : ",\n", event.text()); }

void ChromeTrace::name(std::string const& what, std::int64_t process, std::int64_t thread, std::string const& name) {
  append({{"name", what},
          {"ph", std::string("M")},
          {"pid", process},
          {"tid", thread},
          {"args", JsonObject{{"name", name}}}});
}
void ChromeTrace::name_process(std::int64_t process, std::string const& process_name) {
  name("process_name", process, 0, process_name);
  append({{"name", std::string("process_sort_index")},
          {"ph", std::string("M")},
          {"pid", process},
          {"tid", std::int64_t{0}},
          {"args", JsonObject{{"sort_index", process}}}});
}
void ChromeTrace::name_thread(std::int64_t process, std::int64_t thread, std::string const& thread_name) {
  name("thread_name", process, thread, thread_name);
}

void ChromeTrace::add(TraceSpan const& span) {
  // both ends are rounded, so that what lies inside another span still does
  double const start = nanoseconds(span.start), end = nanoseconds(span.end);
  JsonObject event{{"name", span.name},  {"cat", span.category}, {"ph", std::string("X")},     {"pid", span.process},
                   {"tid", span.thread}, {"ts", start / 1000},   {"dur", (end - start) / 1000}};
  if (!span.details.empty()) event.set("args", span.details);
  append(event);
}

std::string ChromeTrace::join(std::vector<std::string> const& texts) {
  ChromeTrace all;
  for (std::string_view text : texts) {
    bool const whole = text.starts_with(opening) && text.ends_with(closing);
    validate(whole, "A trace of a rank can't be joined with the others (it is not whole). Trace again.");
    text.remove_prefix(std::string_view(opening).size());
    text.remove_suffix(std::string_view(closing).size());
    all.events_ += concat(all.events_.empty() || text.empty() ? "" : ",\n", text);
  }
  return all.text();
}

}  // namespace selenite
