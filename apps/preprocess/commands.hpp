#pragma once
#include "apps/common/command_line.hpp"

namespace selenite::app {

// Each adds one subcommand, with its options, to the command line.
void add_tokenize(CommandLine& line);
void add_train_tokenizer(CommandLine& line);
void add_merge(CommandLine& line);
void add_inspect(CommandLine& line);

}  // namespace selenite::app
