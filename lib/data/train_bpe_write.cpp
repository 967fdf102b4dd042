#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "data/output_file.hpp"
#include "data/train_bpe.hpp"

namespace selenite {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

void write_file(fs::path const& path, std::string const& text) {
  fs::path const partial = path.string() + ".partial";
  OutputFile file(partial);
  file.write(std::as_bytes(std::span(text)));
  file.sync();
  rename_durably(partial, path);
}

/// {"token": id, ...} in the order of ids. (An ordered_json would search its list for every token that is added.)
std::string vocabulary_text(TrainedBpe const& bpe) {
  std::string text = "{";
  for (std::size_t id = 0; id < bpe.tokens.size(); ++id) {
    text += (id ? "," : "") + ordered_json(bpe.tokens[id]).dump() + ":" + std::to_string(id);
  }
  return text + "}";
}

std::string tokenizer_text(TrainedBpe const& bpe) {
  ordered_json added = ordered_json::array();
  for (std::size_t id = 0; id < bpe.special_tokens; ++id) {
    added.push_back({{"id", id},
                     {"content", bpe.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  ordered_json const byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  ordered_json merges = ordered_json::array();
  for (auto const& [left, right] : bpe.merges) merges.push_back({left, right});
  return R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":)" + added.dump() +
         R"(,"normalizer":null,"pre_tokenizer":)" + byte_level.dump() + R"(,"post_processor":null,"decoder":)" +
         byte_level.dump() +
         R"(,"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,)"
         R"("end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":)" +
         vocabulary_text(bpe) + R"(,"merges":)" + merges.dump() + "}}\n";
}

}  // namespace

void check_tokenizer_folder(fs::path const& folder, bool overwrite) {
  for (char const* name : {"vocab.json", "merges.txt", "tokenizer.json"}) {
    validate(overwrite || !fs::exists(folder / name), "'", (folder / name).string(),
             "' exists already (an earlier run wrote it). Choose another folder, or replace it with --overwrite.");
  }
}

void write_tokenizer(TrainedBpe const& bpe, fs::path const& folder, bool overwrite) {
  check_tokenizer_folder(folder, overwrite);
  fs::create_directories(folder);
  std::string merges = "#version: 0.2\n";
  for (auto const& [left, right] : bpe.merges) merges += left + " " + right + "\n";
  write_file(folder / "vocab.json", vocabulary_text(bpe) + "\n");
  write_file(folder / "merges.txt", merges);
  write_file(folder / "tokenizer.json", tokenizer_text(bpe));
}

}  // namespace selenite
