#include <array>
#include <filesystem>

#include "core/error.hpp"
#include "data/tokenizer.hpp"
#include "data/tokenizer_bpe.hpp"

namespace selenite {
namespace {

namespace fs = std::filesystem;

/// The merges that belong to a vocabulary file, by their usual names; "" if its name tells nothing.
fs::path merges_beside(fs::path const& vocab) {
  std::string const name = vocab.filename().string();
  if (name == "encoder.json") return vocab.parent_path() / "vocab.bpe";
  if (!name.ends_with("vocab.json")) return {};
  return vocab.parent_path() / (name.substr(0, name.size() - 10) + "merges.txt");
}

std::unique_ptr<Tokenizer> load_pair(fs::path const& vocab) {
  fs::path const merges = merges_beside(vocab);
  validate(fs::exists(merges), "Tokenizer '", vocab.string(), "' cannot be used (its merges '", merges.string(),
           "' are missing). Put them there.");
  return make_bpe_tokenizer(read_vocab_and_merges(vocab.string(), merges.string()));
}

std::unique_ptr<Tokenizer> load_folder(fs::path const& folder) {
  if (fs::exists(folder / "tokenizer.json")) {
    return make_bpe_tokenizer(read_tokenizer_json((folder / "tokenizer.json").string()));
  }
  for (char const* name : {"vocab.json", "encoder.json"}) {
    if (fs::exists(folder / name)) return load_pair(folder / name);
  }
  if (fs::exists(folder / "tokenizer.model")) return load_sentencepiece((folder / "tokenizer.model").string());
  throw Error(
      concat("No tokenizer in folder '", folder.string(),
             "' (there is no tokenizer.json, vocab.json, encoder.json or tokenizer.model). Name another folder,",
             " or the file itself."));
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(std::string const& spec) {
  if (spec == "bytes") return make_byte_tokenizer();
  fs::path const path = spec;
  validate(fs::exists(path), "Tokenizer '", spec,
           "' not found (it is no file, no folder and not the word \"bytes\"). Give the path of a tokenizer.json, of a"
           " vocab.json with merges.txt beside it, of a SentencePiece .model, or of a folder with one of them.");
  if (fs::is_directory(path)) return load_folder(path);
  if (path.extension() == ".model") return load_sentencepiece(spec);
  if (!merges_beside(path).empty()) return load_pair(path);
  validate(path.extension() == ".json", "Tokenizer '", spec,
           "' is of no known kind (its name ends neither in .json nor in .model). Give a tokenizer.json, a vocab.json"
           " with merges.txt beside it, or a SentencePiece .model.");
  return make_bpe_tokenizer(read_tokenizer_json(spec));
}

}  // namespace selenite
