#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/error.hpp"
#include "data/npy.hpp"
#include "data/tokenizer_bpe.hpp"
#include "data/tokenizer_json.hpp"

namespace selenite {

using nlohmann::json;

std::string read_text_file(std::string const& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  validate(file.good(), "Cannot read '", path,
           "' (it cannot be opened or is empty). Check the path and its permissions.");
  return std::move(text).str();
}

json parse_json_text(std::string const& text, std::string const& path) {
  try {
    return json::parse(text);
  } catch (json::exception const& error) {
    throw Error(concat("'", path, "' is not valid JSON (", error.what(), "). Download or make it again."));
  }
}

void read_vocabulary(json const& vocabulary, BpeTables& tables) {
  validate(vocabulary.is_object(), "The vocabulary is not a JSON object of tokens and ids.");
  for (auto const& [token, id] : vocabulary.items()) {
    validate(id.is_number_unsigned() && id.get<std::uint64_t>() < 1u << 24, "The token '", token, "' has the id ",
             id.dump(), ", which is no id.");
    tables.vocabulary.emplace_back(token, id.get<std::int32_t>());
  }
}

std::pair<std::string, std::string> split_merge(std::string const& line, std::size_t number) {
  std::size_t const space = line.find(' ');
  validate(space != std::string::npos && space > 0 && space + 1 < line.size() && line.find(' ', space + 1) == line.npos,
           "Merge ", number, ", '", line, "', is not two tokens with a space between.");
  return {line.substr(0, space), line.substr(space + 1)};
}

void read_special_names(std::string const& beside, BpeTokenizerParts& parts) {
  auto const path = std::filesystem::path(beside).parent_path() / "tokenizer_config.json";
  if (!std::filesystem::exists(path)) return;
  json const config = parse_json_text(read_text_file(path.string()), path.string());
  auto const text = [&](char const* key) -> std::string {
    if (!config.is_object() || !config.contains(key)) return {};
    json const& value = config[key];
    if (value.is_string()) return value.get<std::string>();
    if (value.is_object() && value.contains("content") && value["content"].is_string()) {
      return value["content"].get<std::string>();
    }
    return {};
  };
  parts.eod = text("eos_token");
  parts.pad = text("pad_token");
}

BpeTokenizerParts read_vocab_and_merges(std::string const& vocab, std::string const& merges) {
  BpeTokenizerParts parts;
  parts.name = "byte-level BPE " + vocab;
  std::string text;
  try {
    text = read_text_file(vocab);
    read_vocabulary(parse_json_text(text, vocab), parts.tables);
  } catch (Error const& error) {
    throw Error(concat("Vocabulary '", vocab, "' cannot be used. ", error.what()));
  }
  std::string const merges_text = read_text_file(merges);
  text += merges_text;
  parts.checksum = hash_bytes(std::as_bytes(std::span(text)));
  std::istringstream lines(merges_text);
  std::size_t number = 0;
  try {
    for (std::string line; std::getline(lines, line);) {
      if (line.ends_with('\r')) line.pop_back();
      if (line.empty() || line.starts_with("#version")) continue;
      parts.tables.merges.push_back(split_merge(line, ++number));
    }
  } catch (Error const& error) {
    throw Error(concat("Merges '", merges, "' cannot be used. ", error.what()));
  }
  parts.pretokenize.emplace_back(ByteLevelStep{});
  parts.decode.emplace_back(ByteLevelDecode{});
  // The one special token of this pair of files stands in the vocabulary itself.
  for (auto const& [token, id] : parts.tables.vocabulary) {
    if (token == "<|endoftext|>") parts.added.push_back({.content = token, .id = id, .special = true});
  }
  read_special_names(vocab, parts);
  return parts;
}

}  // namespace selenite
