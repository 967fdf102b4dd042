#pragma once
#include <filesystem>

#include "data/indexed.hpp"
#include "data/preprocess.hpp"
#include "data/preprocess_blocks.hpp"

namespace selenite {

/// What a killed run needs to go on, kept in `<output>.progress.partial`.
struct TokenizeState {
  InputPosition position;
  WriterState writer;
  TokenizeCounts counts;
  bool finishing = false;  // all input is done; only finish() is left
};

std::filesystem::path state_path(std::filesystem::path const& output);
/// Writes the state so that a kill leaves the old or the new one whole.
void save_state(TokenizeOptions const& options, Tokenizer const& tokenizer, TokenizeState const& state);
/// Reads it. Throws Error if it is corrupt, or if inputs, tokenizer or options are others than those of the killed run.
TokenizeState load_state(TokenizeOptions const& options, Tokenizer const& tokenizer);

}  // namespace selenite
