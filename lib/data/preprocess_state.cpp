#include "data/preprocess_state.hpp"

#include <fstream>
#include <nlohmann/json.hpp>

#include "core/text.hpp"
#include "data/output_file.hpp"

namespace selenite {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Names that are not UTF-8 are replaced.
std::string text_of(json const& node, int indent) {
  return node.dump(indent, ' ', false, json::error_handler_t::replace);
}

/// What of an identity is not as it was.
std::vector<std::string> differences(json const& was, json const& now) {
  std::vector<std::string> keys;
  for (auto const& [key, value] : now.items()) {
    if (!was.contains(key) || was[key] != value) keys.push_back(key);
  }
  return keys;
}

}  // namespace

fs::path state_path(fs::path const& output) { return output.string() + ".progress.partial"; }

// Not skip_bad_lines: a run that stopped at a bad line may go on without it.
std::string tokenize_identity(TokenizeOptions const& options, Tokenizer const& tokenizer) {
  json inputs = json::array();
  for (fs::path const& input : options.inputs) {
    inputs.push_back({{"path", input.string()},
                      {"bytes", fs::file_size(input)},
                      {"changed", fs::last_write_time(input).time_since_epoch().count()}});
  }
  return text_of({{"inputs", inputs},
                  {"tokenizer",
                   {{"name", tokenizer.name()},
                    {"checksum", tokenizer.checksum()},
                    {"vocab_size", tokenizer.vocab_size()},
                    {"eod", tokenizer.eod()}}},
                  {"document_per", static_cast<int>(options.document_per)},
                  {"key", options.key},
                  {"append_eod", options.append_eod}},
                 -1);
}

void save_state(fs::path const& output, std::string const& identity, TokenizeState const& state) {
  TokenizeCounts const& counts = state.counts;
  json const node = {{"run", json::parse(identity)},
                     {"position", {state.position.file, state.position.offset, state.position.line}},
                     {"written", {state.writer.documents, state.writer.sequences, state.writer.tokens}},
                     {"counts",
                      {counts.documents, counts.empty_documents, counts.repaired_documents, counts.bad_lines,
                       counts.sequences, counts.tokens, counts.text_bytes}},
                     {"finishing", state.finishing}};
  std::string const text = text_of(node, 1) + "\n";
  fs::path const path = state_path(output);
  fs::path const fresh = path.string() + ".new";
  OutputFile file(fresh);
  file.write(std::as_bytes(std::span(text)));
  file.sync();
  rename_durably(fresh, path);
}

TokenizeState load_state(fs::path const& output, std::string const& identity) {
  fs::path const path = state_path(output);
  std::vector<std::string> changed;
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
    changed = differences(node.at("run"), json::parse(identity));
  } catch (json::exception const& error) {
    throw Error(concat("'", path.string(), "', which an unfinished run left, cannot be read (", error.what(),
                       "). Start again with --restart."));
  }
  validate(changed.empty(), "An unfinished run with other inputs, tokenizer or options has the output '",
           output.string(), "' (changed since: ", join(changed, ", "),
           "). Give it what it had to go on with it, or --restart to throw it away.");
  return state;
}

}  // namespace selenite
