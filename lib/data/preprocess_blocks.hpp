#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/preprocess.hpp"
#include "data/text_source.hpp"

namespace selenite {

/// A place between two documents of the inputs.
struct InputPosition {
  std::int64_t file = 0;    // index in TokenizeOptions::inputs
  std::int64_t offset = 0;  // bytes of text of that file
  std::int64_t line = 0;    // lines of that file before it
};

/// Whole documents, one after another.
struct TextBlock {
  std::string text;
  InputPosition begin;
  InputPosition end;
  std::int64_t file_bytes = 0;  // of all inputs, read up to here
};

/// Cuts the inputs into blocks of whole documents, about block_bytes each.
class BlockReader {
 public:
  static constexpr std::size_t block_bytes = 512 * 1024;

  BlockReader(TokenizeOptions const& options, InputPosition const& from);
  /// The next block; false after the last.
  bool next(TextBlock& block);

 private:
  void open();
  bool fill(std::size_t bytes);
  std::size_t end_of_documents() const;
  TokenizeOptions const& options_;
  InputPosition position_;
  std::unique_ptr<TextSource> source_;
  std::string pending_;  // read, not yet given out
  std::int64_t earlier_files_bytes_ = 0;
};

/// Ids of a block's documents.
struct TokenBlock {
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> sequence_lengths;
  std::vector<std::int32_t> document_sequences;  // sequences of each document; 0 for an empty one
  std::int64_t repaired_documents = 0;
  std::int64_t bad_lines = 0;
};

/// Tokenizes one block. Throws Error naming file and line for a JSON line that cannot be read, unless they are skipped.
TokenBlock tokenize_block(TokenizeOptions const& options, TextBlock const& block, Tokenizer& tokenizer);

}  // namespace selenite
