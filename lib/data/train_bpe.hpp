#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/preprocess.hpp"

namespace selenite {

/// How often each word (a match of GPT-2's pattern, as bytes) occurs.
struct WordHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
};
using WordCounts = std::unordered_map<std::string, std::int64_t, WordHash, std::equal_to<>>;

/// Counts the words of the inputs on options.threads threads; `report` gets the bytes of the input files done so far.
/// Of `options` the output, append_eod and the checkpoint fields are not used.
WordCounts count_words(TokenizeOptions const& options, std::function<void(TokenizeProgress const&)> const& report);

struct BpeTraining {
  std::int32_t vocab_size = 0;  // special tokens and the 256 bytes included
  std::int64_t min_frequency = 0;
  std::vector<std::string> special_tokens;  // get the first ids
};

/// A trained vocabulary in the byte-level alphabet.
struct TrainedBpe {
  std::vector<std::string> tokens;                          // by id
  std::vector<std::pair<std::string, std::string>> merges;  // in the order learnt
  std::size_t special_tokens = 0;                           // the first so many tokens
};

/// Byte pair encoding by the counts of Sennrich et al. 2016 (arXiv:1508.07909), on bytes: the most frequent pair is
/// merged, the one of the smallest ids among equals. Deterministic, and equal to what Hugging Face tokenizers'
/// BpeTrainer learns with its byte-level alphabet. `report` gets the number of tokens so far. Throws Error if
/// vocab_size leaves no room for bytes and special tokens.
TrainedBpe train_bpe(WordCounts const& words, BpeTraining const& training,
                     std::function<void(std::int64_t)> const& report);

/// Throws Error if vocab.json, merges.txt or tokenizer.json is in `folder` and `overwrite` is not set. For a look
/// before the work of training.
void check_tokenizer_folder(std::filesystem::path const& folder, bool overwrite);

/// Writes the three to `folder`. Throws the same Error.
void write_tokenizer(TrainedBpe const& bpe, std::filesystem::path const& folder, bool overwrite);

}  // namespace selenite
