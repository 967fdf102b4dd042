#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "data/tokenizer.hpp"

namespace selenite {

/// What one document is.
enum class DocumentPer {
  json_line,   // a JSON object a line; the text is at `key`, a string or a list of strings (one sequence each)
  line,        // a line of text
  blank_line,  // lines up to a blank one
  file
};

struct TokenizeOptions {
  std::vector<std::filesystem::path> inputs;  // gzip and zstd are decompressed
  std::filesystem::path output;               // prefix of .bin and .idx
  DocumentPer document_per = DocumentPer::json_line;
  std::string key = "text";
  bool append_eod = false;
  bool overwrite = false;       // a finished output may be replaced
  bool restart = false;         // what a killed run left is thrown away, not gone on with
  bool skip_bad_lines = false;  // JSON lines that cannot be read are counted, not an error
  int threads = 1;
  std::int64_t checkpoint_bytes = std::int64_t{64} << 20;  // of text between two points where a killed run can go on
};

/// Counts since the start of the corpus, runs before a kill included.
struct TokenizeCounts {
  std::int64_t documents = 0;
  std::int64_t empty_documents = 0;     // without a token; they keep their document boundary
  std::int64_t repaired_documents = 0;  // with ill-formed UTF-8
  std::int64_t bad_lines = 0;           // skipped
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;
  std::int64_t text_bytes = 0;  // read, decompressed
};

struct TokenizeProgress {
  TokenizeCounts counts;
  std::int64_t file_bytes = 0;  // of all inputs, as they are on disk: done and in all
  std::int64_t file_bytes_total = 0;
  std::int64_t resumed_bytes = 0;  // text that an earlier run had done
};

/// Tokenizes `options.inputs` in order into `<output>.bin` and `<output>.idx`, in memory that does not grow with the
/// input (the longest document must fit). A run that was killed at any moment is gone on with by calling this again
/// with the same options: the result has the same bytes. `report` is called in this thread after every block of text.
/// Throws Error for input that cannot be read (a bad JSON line by file and number), if the output exists, and
/// if another run writes it.
TokenizeProgress tokenize_corpus(TokenizeOptions const& options, Tokenizer const& tokenizer,
                                 std::function<void(TokenizeProgress const&)> const& report);

}  // namespace selenite
