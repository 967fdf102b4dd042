#include "io/metrics.hpp"

#include <fstream>
#include <limits>

namespace selenite {
namespace {

/// Bytes of the lines, from the start, of steps up to `last_step`.
std::int64_t bytes_to_keep(std::filesystem::path const& path, std::int64_t last_step) {
  std::ifstream file(path, std::ios::binary);
  std::int64_t keep = 0;
  for (std::string line; std::getline(file, line) && !file.eof();) {  // eof: no newline, so torn
    if (integer_member(line, "step", std::numeric_limits<std::int64_t>::max()) > last_step) break;
    keep += static_cast<std::int64_t>(line.size()) + 1;
  }
  return keep;
}

}  // namespace

MetricsFile::MetricsFile(std::filesystem::path const& path, std::int64_t resumed_step)
    : file_(path, OpenFile::Mode::append) {
  std::int64_t const keep = bytes_to_keep(path, resumed_step);
  if (keep < file_.size()) file_.truncate(keep);
}

}  // namespace selenite
