#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "data/bpe.hpp"
#include "data/pretokenize.hpp"
#include "data/tokenizer.hpp"
#include "data/tokenizer_added.hpp"
#include "data/tokenizer_normalize.hpp"

namespace selenite {

// How tokens become text again, named as in tokenizer.json.
struct ReplaceDecode {
  std::string pattern;
  std::string content;
};
struct ByteFallbackDecode {};  // <0xNN> is a byte
struct FuseDecode {};          // the tokens become one
struct StripDecode {
  std::string content;  // one character, taken off the front and the back of every token up to so many times
  int start = 0;
  int stop = 0;
};
struct MetaspaceDecode {
  std::string replacement;
  bool prepended = true;  // the first token's mark is dropped
};
struct ByteLevelDecode {};
using DecodeStep =
    std::variant<ReplaceDecode, ByteFallbackDecode, FuseDecode, StripDecode, MetaspaceDecode, ByteLevelDecode>;

/// All that a BPE tokenizer is made of, as its files describe it.
struct BpeTokenizerParts {
  std::string name;
  BpeTables tables;
  std::vector<NormalizeStep> normalize;
  std::vector<PretokenizeStep> pretokenize;
  std::vector<DecodeStep> decode;
  std::vector<AddedToken> added;
  std::string eod;  // texts; "" to look for a token with one of the usual names
  std::string pad;
  std::uint64_t checksum = 0;  // of the files that decide the ids
};

/// The BPE tokenizer: added tokens, normalizer, pre-tokenizer, merges. Throws Error if the parts do not fit together.
std::unique_ptr<Tokenizer> make_bpe_tokenizer(BpeTokenizerParts parts);

/// Text of tokens by the steps of a decoder; `tokens` is used up.
std::string decode_tokens(std::vector<DecodeStep> const& steps, std::vector<std::string> tokens);

// Readers of the files. Each throws Error naming the file and what is wrong with it.
BpeTokenizerParts read_tokenizer_json(std::string const& path);
BpeTokenizerParts read_vocab_and_merges(std::string const& vocab, std::string const& merges);
std::unique_ptr<Tokenizer> load_sentencepiece(std::string const& path);
std::unique_ptr<Tokenizer> make_byte_tokenizer();

}  // namespace selenite
