#include "data/bpe.hpp"

#include <algorithm>
#include <array>
#include <bit>

#include "core/error.hpp"
#include "data/unicode.hpp"

namespace selenite {
namespace {

constexpr std::int32_t id_limit = 1 << 24;  // far above any vocabulary; keeps a corrupt id from asking for gigabytes

/// The byte-level alphabet of GPT-2: printable Latin-1 characters stand for themselves, the other bytes in their order
/// for U+0100 and up.
std::array<std::uint32_t, 256> byte_alphabet() {
  std::array<std::uint32_t, 256> alphabet{};
  std::uint32_t other = 0x100;
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    bool const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    alphabet[byte] = printable ? byte : other++;
  }
  return alphabet;
}

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

std::size_t spread(std::uint64_t key) { return static_cast<std::size_t>(key * 0x9e3779b97f4a7c15u >> 24); }

}  // namespace

bool decode_byte_level(std::string_view token, std::string& bytes) {
  static std::array<std::int16_t, 0x144> const byte_of = [] {
    std::array<std::int16_t, 0x144> table{};
    table.fill(-1);
    auto const alphabet = byte_alphabet();
    for (std::size_t byte = 0; byte < 256; ++byte) table[alphabet[byte]] = static_cast<std::int16_t>(byte);
    return table;
  }();
  bytes.clear();
  for (std::size_t at = 0; at < token.size();) {
    Utf8Char const c = decode_utf8(token.data() + at);
    if (c.code >= byte_of.size() || byte_of[c.code] < 0) return false;
    bytes.push_back(static_cast<char>(byte_of[c.code]));
    at += c.bytes;
  }
  return true;
}

std::string byte_level_character(unsigned char byte) {
  static std::array<std::uint32_t, 256> const alphabet = byte_alphabet();
  std::string text;
  append_utf8(text, alphabet[byte]);
  return text;
}

BpeModel::BpeModel(BpeTables tables)
    : byte_level_(tables.byte_level),
      ignore_merges_(tables.ignore_merges),
      byte_fallback_(tables.byte_fallback),
      fuse_unknown_(tables.fuse_unknown) {
  add_tokens(tables);
  add_merges(tables);
  if (!tables.unknown_token.empty()) {
    unknown_ = id(tables.unknown_token);
    validate(unknown_ >= 0, "The unknown token '", tables.unknown_token, "' is not in the vocabulary. Add it.");
  }
}

void BpeModel::add_tokens(BpeTables const& tables) {
  std::int32_t largest = -1;
  for (auto const& [text, id] : tables.vocabulary) {
    validate(id >= 0 && id < id_limit, "Token '", text, "' has the id ", id, " (ids are 0 to ", id_limit - 1, ").");
    validate(valid_utf8_prefix(text) == text.size(), "The token with id ", id, " is not valid UTF-8.");
    largest = std::max(largest, id);
  }
  tokens_.resize(static_cast<std::size_t>(largest + 1));
  bytes_.resize(tokens_.size());
  for (auto const& [text, id] : tables.vocabulary) {
    auto const at = static_cast<std::size_t>(id);
    tokens_[at] = text;
    ids_[text] = id;
  }
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), -1);
  for (auto const& [text, id] : ids_) {
    auto const at = static_cast<std::size_t>(id);
    if (tokens_[at] != text) continue;  // another token took the id
    bool const spelled = !byte_level_ || decode_byte_level(text, bytes_[at]);
    if (!byte_level_ || !spelled) bytes_[at] = text;
    // A token outside the alphabet (a special one) can never come from text.
    if (spelled) words_[bytes_[at]] = id;
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    static constexpr char digits[] = "0123456789ABCDEF";
    std::string const code = {'<', '0', 'x', digits[byte / 16], digits[byte % 16], '>'};
    byte_ids_[byte] = id(byte_level_ ? byte_level_character(static_cast<unsigned char>(byte)) : code);
  }
}

void BpeModel::add_merges(BpeTables const& tables) {
  merges_.resize(std::bit_ceil(tables.merges.size() * 2 + 2));
  std::uint32_t rank = 0;
  for (auto const& [left, right] : tables.merges) {
    std::int32_t const left_id = id(left);
    std::int32_t const right_id = id(right);
    std::int32_t const new_id = id(left + right);
    validate(left_id >= 0 && right_id >= 0 && new_id >= 0, "Merge ", rank + 1, ", '", left, " ", right,
             "', cannot be used (",
             left_id < 0    ? left
             : right_id < 0 ? right
                            : left + right,
             " is not in the vocabulary). The vocabulary and the merges must come from the same tokenizer.");
    std::uint64_t const key = pair_key(left_id, right_id);
    std::size_t slot = spread(key) & (merges_.size() - 1);
    while (merges_[slot].pair != ~std::uint64_t{0} && merges_[slot].pair != key)
      slot = (slot + 1) & (merges_.size() - 1);
    merges_[slot] = {key, rank++, new_id};  // the last of equal pairs counts, as in the peers
  }
}

std::int32_t BpeModel::id(std::string const& token) const {
  auto const found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

std::int32_t BpeModel::id_of_bytes(std::string_view word) const {
  auto const found = words_.find(word);
  return found == words_.end() ? -1 : found->second;
}

BpeModel::Merge const* BpeModel::find(std::int32_t left, std::int32_t right) const {
  std::uint64_t const key = pair_key(left, right);
  for (std::size_t slot = spread(key) & (merges_.size() - 1);; slot = (slot + 1) & (merges_.size() - 1)) {
    Merge const& merge = merges_[slot];
    if (merge.pair == key) return &merge;
    if (merge.pair == ~std::uint64_t{0}) return nullptr;
  }
}

void BpeModel::encode(std::string_view word, BpeScratch& scratch, std::vector<std::int32_t>& out) const {
  if (ignore_merges_) {
    if (std::int32_t const whole = id_of_bytes(word); whole >= 0) {
      out.push_back(whole);
      return;
    }
  }
  scratch.ids.clear();
  first_symbols(word, scratch.ids);
  if (scratch.ids.size() <= 48) {
    merge_short(scratch.ids);
  } else {
    merge_long(scratch);
  }
  out.insert(out.end(), scratch.ids.begin(), scratch.ids.end());
}

void BpeModel::first_symbols(std::string_view word, std::vector<std::int32_t>& ids) const {
  std::int32_t pending = -1;  // an unknown token that more unknown characters may still be fused into
  if (byte_level_) {
    for (char const c : word) {
      std::int32_t const id = byte_ids_[static_cast<unsigned char>(c)];
      if (id < 0) {
        unknown_character(std::string_view(), pending, ids);
        continue;
      }
      if (pending >= 0) ids.push_back(pending), pending = -1;
      ids.push_back(id);
    }
  } else {
    for (std::size_t at = 0; at < word.size();) {
      std::string_view const character = word.substr(at, decode_utf8(word.data() + at).bytes);
      at += character.size();
      std::int32_t const id = id_of_bytes(character);
      if (id < 0) {
        unknown_character(character, pending, ids);
        continue;
      }
      if (pending >= 0) ids.push_back(pending), pending = -1;
      ids.push_back(id);
    }
  }
  if (pending >= 0) ids.push_back(pending);
}

void BpeModel::unknown_character(std::string_view character, std::int32_t& pending,
                                 std::vector<std::int32_t>& ids) const {
  if (byte_fallback_ && !character.empty() && std::all_of(character.begin(), character.end(), [this](char c) {
        return byte_ids_[static_cast<unsigned char>(c)] >= 0;
      })) {
    for (char const c : character) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    return;
  }
  if (unknown_ < 0) return;
  if (pending >= 0 && !fuse_unknown_) ids.push_back(pending);
  pending = unknown_;
}

void BpeModel::merge_short(std::vector<std::int32_t>& ids) const {
  constexpr std::uint32_t none = ~std::uint32_t{0};
  std::array<std::uint32_t, 48> ranks;
  std::array<std::int32_t, 48> merged;
  std::size_t count = ids.size();
  auto const look_up = [&](std::size_t at) {
    Merge const* const merge = find(ids[at], ids[at + 1]);
    ranks[at] = merge ? merge->rank : none;
    merged[at] = merge ? merge->new_id : -1;
  };
  for (std::size_t at = 0; at + 1 < count; ++at) look_up(at);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t at = 1; at + 1 < count; ++at) {
      if (ranks[at] < ranks[best]) best = at;
    }
    if (ranks[best] == none) break;
    ids[best] = merged[best];
    for (std::size_t at = best + 1; at + 1 < count; ++at) {
      ids[at] = ids[at + 1];
      ranks[at] = ranks[at + 1];
      merged[at] = merged[at + 1];
    }
    --count;
    if (best + 1 < count) look_up(best);
    if (best > 0) look_up(best - 1);
  }
  ids.resize(count);
}

void BpeModel::merge_long(BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  auto const later = [](BpeScratch::Candidate const& a, BpeScratch::Candidate const& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  auto const push = [&](std::int32_t left, std::int32_t right) {
    if (left < 0 || right < 0) return;
    Merge const* const merge =
        find(symbols[static_cast<std::size_t>(left)].id, symbols[static_cast<std::size_t>(right)].id);
    if (merge == nullptr) return;
    heap.push_back({merge->rank, left, merge->new_id});
    std::push_heap(heap.begin(), heap.end(), later);
  };
  auto const count = static_cast<std::int32_t>(scratch.ids.size());
  symbols.clear();
  heap.clear();
  for (std::int32_t i = 0; i < count; ++i) {
    symbols.push_back({scratch.ids[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1, true});
  }
  for (std::int32_t i = 0; i + 1 < count; ++i) push(i, i + 1);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    BpeScratch::Candidate const best = heap.back();
    heap.pop_back();
    auto& left = symbols[static_cast<std::size_t>(best.position)];
    if (!left.alive || left.next < 0) continue;
    auto& right = symbols[static_cast<std::size_t>(left.next)];
    Merge const* const merge = find(left.id, right.id);
    if (merge == nullptr || merge->new_id != best.new_id) continue;  // one of the two has changed since
    left.id = best.new_id;
    left.next = right.next;
    right.alive = false;
    if (right.next >= 0) symbols[static_cast<std::size_t>(right.next)].previous = best.position;
    push(left.previous, best.position);
    push(best.position, left.next);
  }
  scratch.ids.clear();
  for (auto const& symbol : symbols) {
    if (symbol.alive) scratch.ids.push_back(symbol.id);
  }
}

}  // namespace selenite
