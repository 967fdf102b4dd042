#include "data/preprocess_state.hpp"

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "data/output_file.hpp"

namespace selenite {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// All that decides which bytes come out. Not skip_bad_lines: a run that stopped at a bad line may go on without it.
json identity(TokenizeOptions const& options, Tokenizer const& tokenizer) {
  json inputs = json::array();
  for (fs::path const& input : options.inputs) {
    inputs.push_back({{"path", input.string()}, {"bytes", fs::file_size(input)}});
  }
  return {{"inputs", inputs},
          {"tokenizer", tokenizer.name()},
          {"vocab_size", tokenizer.vocab_size()},
          {"eod", tokenizer.eod()},
          {"document_per", static_cast<int>(options.document_per)},
          {"key", options.key},
          {"append_eod", options.append_eod}};
}

}  // namespace

fs::path state_path(fs::path const& output) { return output.string() + ".progress.partial"; }

void save_state(TokenizeOptions const& options, Tokenizer const& tokenizer, TokenizeState const& state) {
  TokenizeCounts const& counts = state.counts;
  json const node = {{"run", identity(options, tokenizer)},
                     {"position", {state.position.file, state.position.offset, state.position.line}},
                     {"written", {state.writer.documents, state.writer.sequences, state.writer.tokens}},
                     {"counts",
                      {counts.documents, counts.empty_documents, counts.repaired_documents, counts.bad_lines,
                       counts.sequences, counts.tokens, counts.text_bytes}},
                     {"finishing", state.finishing}};
  std::string const text = node.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
  fs::path const path = state_path(options.output);
  fs::path const fresh = path.string() + ".new";
  OutputFile file(fresh);
  file.write(std::as_bytes(std::span(text)));
  file.sync();
  rename_durably(fresh, path);
}

TokenizeState load_state(TokenizeOptions const& options, Tokenizer const& tokenizer) {
  fs::path const path = state_path(options.output);
  json node;
  TokenizeState state;
  try {
    std::ifstream file(path);
    node = json::parse(file);
    auto const position = node.at("position").get<std::array<std::int64_t, 3>>();
    auto const written = node.at("written").get<std::array<std::int64_t, 3>>();
    auto const counts = node.at("counts").get<std::array<std::int64_t, 7>>();
    state.position = {position[0], position[1], position[2]};
    state.writer = {written[0], written[1], written[2]};
    state.counts = {counts[0], counts[1], counts[2], counts[3], counts[4], counts[5], counts[6]};
    state.finishing = node.at("finishing").get<bool>();
  } catch (json::exception const& error) {
    throw Error(concat("'", path.string(), "', which an unfinished run left, cannot be read (", error.what(),
                       "). Start again with --restart."));
  }
  // Through text, as it was saved: names that are not UTF-8 are replaced in both.
  std::string const now = identity(options, tokenizer).dump(-1, ' ', false, json::error_handler_t::replace);
  validate(node.at("run") == json::parse(now),
           "An unfinished run with other inputs, tokenizer or options has the output '", options.output.string(),
           "'. Give its options to go on with it, or --restart to throw it away.");
  return state;
}

}  // namespace selenite
