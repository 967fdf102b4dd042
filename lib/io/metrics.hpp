#pragma once
#include <cstdint>
#include <filesystem>

#include "core/files.hpp"
#include "io/json.hpp"

namespace selenite {

/// metrics.jsonl: one line of JSON a step, each written in one call, so that a reader sees whole lines only.
class MetricsFile {
 public:
  /// Opens or makes the file. What a run wrote after `resumed_step` is cut off (and with it a line torn by a crash), so
  /// that there is one line a step; -1 starts anew.
  MetricsFile(std::filesystem::path const& path, std::int64_t resumed_step);
  /// `line` has a member "step".
  void append(JsonObject const& line) { file_.write(line.text() + "\n"); }

 private:
  OpenFile file_;
};

}  // namespace selenite
