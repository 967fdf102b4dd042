#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>

#include "data/tokenizer_bpe.hpp"

namespace selenite {

// Helpers that the readers of vocab.json and of tokenizer.json share. Private to them.
std::string read_text_file(std::string const& path);
/// Throws Error naming the file that the text is from, and the place, if it is no JSON.
nlohmann::json parse_json_text(std::string const& text, std::string const& path);
void read_vocabulary(nlohmann::json const& vocabulary, BpeTables& tables);
/// "left right" to its two tokens.
std::pair<std::string, std::string> split_merge(std::string const& line, std::size_t number);
/// eos_token and pad_token of the tokenizer_config.json beside a file, if there is one.
void read_special_names(std::string const& beside, BpeTokenizerParts& parts);

// The components of tokenizer.json. Each throws Error naming a component or option that is not supported.
std::vector<NormalizeStep> read_normalizer(nlohmann::json const& node);
std::vector<PretokenizeStep> read_pretokenizer(nlohmann::json const& node);
std::vector<DecodeStep> read_decoder(nlohmann::json const& node);

}  // namespace selenite
