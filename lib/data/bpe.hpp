#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace selenite {

/// What a vocabulary file says, before it is indexed.
struct BpeTables {
  /// Token (text as in the file) and id.
  std::vector<std::pair<std::string, std::int32_t>> vocabulary;
  /// Pairs of tokens in the order in which they were learnt: the first that applies wins.
  std::vector<std::pair<std::string, std::string>> merges;
  /// Tokens are spelled in the 256 printable characters that stand for bytes.
  bool byte_level = true;
  /// A word that is a token as a whole is that token, whatever the merges say.
  bool ignore_merges = false;
  /// An unknown character becomes its bytes' tokens <0x00> to <0xFF>.
  bool byte_fallback = false;
  std::string unknown_token;  // "" for none: unknown characters vanish
  bool fuse_unknown = false;
};

/// The bytes that a byte-level token stands for; false if a character of it stands for none.
bool decode_byte_level(std::string_view token, std::string& bytes);
/// The printable character that stands for a byte.
std::string byte_level_character(unsigned char byte);

/// Scratch of BpeModel::encode, so that a word allocates nothing.
struct BpeScratch {
  struct Symbol {
    std::int32_t id;
    std::int32_t previous;
    std::int32_t next;
    bool alive;
  };
  struct Candidate {
    std::uint32_t rank;
    std::int32_t position;
    std::int32_t new_id;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
  std::vector<std::int32_t> ids;
};

/// Byte pair encoding of single words. Immutable, shared by threads.
class BpeModel {
 public:
  /// Throws Error if a merge or the unknown token is not in the vocabulary, or an id is out of [0, 2^24).
  explicit BpeModel(BpeTables tables);
  /// Appends the ids of one word (raw bytes; valid UTF-8 unless byte_level).
  void encode(std::string_view word, BpeScratch& scratch, std::vector<std::int32_t>& out) const;
  /// Largest id + 1.
  std::int32_t vocab_size() const { return static_cast<std::int32_t>(tokens_.size()); }
  /// Text of a token as in the file; "" if there is none with this id.
  std::string const& token(std::int32_t id) const { return tokens_.at(static_cast<std::size_t>(id)); }
  /// The bytes that a token stands for (its text, if not byte_level).
  std::string const& bytes(std::int32_t id) const { return bytes_.at(static_cast<std::size_t>(id)); }
  /// Id of a token by its text as in the file; -1 if there is none.
  std::int32_t id(std::string const& token) const;
  bool byte_level() const { return byte_level_; }

 private:
  struct Merge {
    std::uint64_t pair = ~std::uint64_t{0};
    std::uint32_t rank = ~std::uint32_t{0};
    std::int32_t new_id = -1;
  };
  void add_tokens(BpeTables const& tables);
  void add_merges(BpeTables const& tables);
  Merge const* find(std::int32_t left, std::int32_t right) const;
  std::int32_t id_of_bytes(std::string_view word) const;
  void first_symbols(std::string_view word, std::vector<std::int32_t>& ids) const;
  void unknown_character(std::string_view character, std::int32_t& pending, std::vector<std::int32_t>& ids) const;
  void merge_short(std::vector<std::int32_t>& ids) const;
  void merge_long(BpeScratch& scratch) const;

  bool byte_level_;
  bool ignore_merges_;
  bool byte_fallback_;
  bool fuse_unknown_;
  std::int32_t unknown_ = -1;
  std::vector<std::string> tokens_;
  std::vector<std::string> bytes_;
  std::unordered_map<std::string, std::int32_t> ids_;         // by text as in the file
  std::unordered_map<std::string_view, std::int32_t> words_;  // by bytes_
  std::int32_t byte_ids_[256];                                // of single bytes (byte_level) or <0xNN>; -1 for none
  std::vector<Merge> merges_;                                 // open addressing, a power of two
};

/// Remembers the ids of short words. One instance a thread.
class BpeCache {
 public:
  BpeCache() : lines_(std::size_t{1} << 16) {}
  /// Appends the ids of a word through `model`.
  void encode(BpeModel const& model, std::string_view word, std::vector<std::int32_t>& out);

 private:
  static constexpr std::size_t longest_key = 24;
  static constexpr std::size_t most_ids = 9;
  struct alignas(64) Line {
    std::uint64_t key[3] = {};
    std::uint8_t length = 0;  // 0: empty
    std::uint8_t count = 0;
    std::int32_t ids[most_ids] = {};
  };
  std::vector<Line> lines_;
  BpeScratch scratch_;
};

}  // namespace selenite
