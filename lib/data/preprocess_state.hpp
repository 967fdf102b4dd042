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
/// All that decides which bytes come out: the inputs by size and time, the tokenizer by its contents, options. To be
/// taken once, before the inputs are read, so that a change during the run is one to the run that goes on.
std::string tokenize_identity(TokenizeOptions const& options, Tokenizer const& tokenizer);
/// Writes the state so that a kill leaves the old or the new one whole.
void save_state(std::filesystem::path const& output, std::string const& identity, TokenizeState const& state);
/// Reads it. Throws Error if it is corrupt, or if the killed run had another identity.
TokenizeState load_state(std::filesystem::path const& output, std::string const& identity);

}  // namespace selenite
