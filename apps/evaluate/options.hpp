#pragma once
#include "apps/common/job.hpp"
#include "run/evaluate.hpp"

namespace selenite::app {

/// What selenite-evaluate is asked for; with nothing else, the validation split.
struct EvaluateOptions {
  std::string path, split, text, prompt, output;
  std::vector<std::string> settings;
  std::int64_t samples = 0, stride = 0;
  SamplingOptions sampling;
  bool json = false, print_config = false, dry_run = false;
  void add_to(CommandLine& command);
  /// Throws Error if an option of the parsed command line has no sense.
  void check(CommandLine const& command) const;
};

/// Prints what was found (rank 0 alone); returns the exit code.
int evaluate(EvaluateOptions const& options, Comm& comm);

}  // namespace selenite::app
