#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace selenite {

/// Turns text into token ids and back. An instance is used by one thread at a time; clone() gives another thread its
/// own, sharing the tables.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Appends the ids of `text` to `out`. No ids are added around them (what the peers call add_special_tokens=False, no
  /// truncation, no padding); special tokens that stand in the text become their ids. Ill-formed UTF-8 is read as if
  /// each ill-formed part were U+FFFD.
  virtual void encode(std::string_view text, std::vector<std::int32_t>& out) = 0;
  /// The text of `ids`, special tokens included; may be ill-formed UTF-8 where ids cut a character. Throws Error for an
  /// id outside [0, vocab_size).
  virtual std::string decode(std::span<std::int32_t const> ids) const = 0;

  /// Largest id + 1.
  virtual std::int32_t vocab_size() const = 0;
  /// The id that ends a document, and the one that pads; -1 if the tokenizer names none.
  virtual std::int32_t eod() const = 0;
  virtual std::int32_t pad() const = 0;
  /// Text and id of every special token.
  virtual std::vector<std::pair<std::string, std::int32_t>> special_tokens() const = 0;
  /// What it is and where it came from, for logs.
  virtual std::string name() const = 0;
  /// Of the contents of its files, which decide the ids: another one under the same name has another.
  virtual std::uint64_t checksum() const = 0;
  virtual std::unique_ptr<Tokenizer> clone() const = 0;
};

/// The tokenizer that the config field data.tokenizer names:
///   bytes                   the 256 bytes and an end-of-document id, 256
///   <path>/tokenizer.json   Hugging Face, byte-level or character BPE
///   <path>/vocab.json       GPT-2's pair of files, with merges.txt beside it (or <x>-vocab.json and <x>-merges.txt)
///   <path>/x.model          SentencePiece
///   <folder>                the first of tokenizer.json, vocab.json, tokenizer.model that is there
/// A component that is not supported, and a file that is missing or corrupt, gives an Error that names it.
std::unique_ptr<Tokenizer> load_tokenizer(std::string const& spec);

}  // namespace selenite
