#pragma once
#include <chrono>
#include <cstdint>
#include <string>

#include "data/preprocess.hpp"

namespace selenite::app {

/// "12,345,678"
std::string grouped(std::int64_t number);
/// "1h02m", "3m05s" or "8.1s"
std::string duration(double seconds);

/// Shows progress on standard error: a bar that is redrawn in a terminal, a line now and then elsewhere.
class ProgressLine {
 public:
  ProgressLine();
  void show(TokenizeProgress const& progress);
  /// Ends the bar's line.
  void finish();
  double seconds() const;

 private:
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
};

}  // namespace selenite::app
