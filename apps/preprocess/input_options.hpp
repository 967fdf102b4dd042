#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "apps/common/command_line.hpp"
#include "data/preprocess.hpp"

namespace selenite::app {

/// The options that say what is read and how, shared by tokenize and train-tokenizer.
struct InputOptions {
  std::vector<std::string> inputs;
  std::string key = "text";
  std::string document_per = "auto";
  std::int64_t threads = 0;
  bool skip_bad_lines = false;

  void add_to(CommandLine& line);
  /// Files found, kind chosen by their names where it was left open, threads counted.
  TokenizeOptions resolve() const;
};

}  // namespace selenite::app
