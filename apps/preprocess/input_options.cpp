#include "apps/preprocess/input_options.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <thread>

#include "core/error.hpp"
#include "core/parallel_for.hpp"
#include "data/text_source.hpp"

namespace selenite::app {
namespace {

bool is_json_lines(std::filesystem::path const& path) {
  static constexpr std::array<std::string_view, 3> names = {".jsonl", ".ndjson", ".json"};
  return std::find(names.begin(), names.end(), extension_of(uncompressed_name(path))) != names.end();
}

DocumentPer kind_of(std::string const& word, std::vector<std::filesystem::path> const& files) {
  if (word == "json") return DocumentPer::json_line;
  if (word == "line") return DocumentPer::line;
  if (word == "blank") return DocumentPer::blank_line;
  if (word == "file") return DocumentPer::file;
  auto const json = std::count_if(files.begin(), files.end(), is_json_lines);
  validate(json == 0 || json == static_cast<std::ptrdiff_t>(files.size()),
           "JSONL and plain text cannot be mixed in one run (their documents are told apart in different ways)."
           " Tokenize them apart and merge.");
  return json > 0 ? DocumentPer::json_line : DocumentPer::blank_line;
}

}  // namespace

void InputOptions::add_to(CommandLine& line) {
  line.option("inputs", inputs, "Text files or quoted globs; gzip and zstd are decompressed", true);
  line.option("--key", key, "Where the text is in a JSON line");
  line.choice(
      "--document-per", document_per, {"auto", "json", "line", "blank", "file"},
      "What one document is: a JSON line, a line, the lines up to a blank one, a file; auto: json for .jsonl and"
      " .json, else blank");
  line.option("--threads", threads, "Working threads; 0: all cores");
  line.flag("--skip-bad-lines", skip_bad_lines, "Count JSON lines that cannot be read instead of stopping");
}

TokenizeOptions InputOptions::resolve() const {
  validate(threads <= 4096, "--threads ", threads, " cannot be used (it is not from 0 to 4096). Give 0 for all cores.");
  TokenizeOptions options;
  options.inputs = expand_inputs(inputs);
  options.document_per = kind_of(document_per, options.inputs);
  options.key = key;
  options.skip_bad_lines = skip_bad_lines;
  options.threads = threads > 0 ? static_cast<int>(threads) : selenite::threads();
  return options;
}

}  // namespace selenite::app
