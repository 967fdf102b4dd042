#include "data/indexed.hpp"

#include <type_traits>

#include "core/parallel_for.hpp"
#include "data/indexed_format.hpp"

namespace selenite {

using namespace indexed_format;

std::int64_t size_of(TokenType type) {
  switch (type) {
    case TokenType::uint8:
    case TokenType::int8:
      return 1;
    case TokenType::int16:
    case TokenType::uint16:
      return 2;
    case TokenType::int32:
    case TokenType::float32:
      return 4;
    case TokenType::int64:
    case TokenType::float64:
      return 8;
  }
  return 0;
}

std::string_view name(TokenType type) {
  switch (type) {
    case TokenType::uint8:
      return "uint8";
    case TokenType::int8:
      return "int8";
    case TokenType::int16:
      return "int16";
    case TokenType::int32:
      return "int32";
    case TokenType::int64:
      return "int64";
    case TokenType::float64:
      return "float64";
    case TokenType::float32:
      return "float32";
    case TokenType::uint16:
      return "uint16";
  }
  return "unknown";
}

TokenType token_type_for(std::int64_t vocab_size) { return vocab_size < 65500 ? TokenType::uint16 : TokenType::int32; }

std::filesystem::path index_path(std::filesystem::path const& prefix) { return prefix.string() + ".idx"; }
std::filesystem::path tokens_path(std::filesystem::path const& prefix) { return prefix.string() + ".bin"; }

IndexedDataset::IndexedDataset(std::filesystem::path const& prefix)
    : prefix_(prefix), index_(index_path(prefix)), bin_(tokens_path(prefix)) {
  check_header();
  check_sequences();
  check_documents();
}

void IndexedDataset::check_header() {
  auto const data = index_.bytes();
  auto const file = index_.path().string();
  validate(
      index_.size() >= header_bytes && std::memcmp(data.data(), magic.data(), magic.size()) == 0, "'", file,
      "' is no index of a tokenized corpus (it does not begin with MMIDIDX). Give the prefix of an .idx/.bin pair.");
  auto const found_version = load_unaligned<std::uint64_t>(data.data() + version_at);
  validate(found_version == version, "'", file, "' has format version ", found_version, " (only version ", version,
           " is known). Tokenize the corpus again.");
  auto const code = load_unaligned<std::uint8_t>(data.data() + type_at);
  validate(code >= 1 && code <= 8, "'", file, "' has token type code ", int{code},
           " (1 to 8 are known). The file is damaged; copy it again or tokenize the corpus again.");
  type_ = static_cast<TokenType>(code);
  with_token_type(type_, [](auto) {});

  auto const sequences = load_unaligned<std::uint64_t>(data.data() + sequences_at);
  auto const boundaries = load_unaligned<std::uint64_t>(data.data() + boundaries_at);
  auto const size = static_cast<std::uint64_t>(index_.size());
  bool const plausible = sequences <= size / 12 && boundaries <= size / 8 && boundaries >= 1;
  validate(
      plausible && header_bytes + 12 * sequences + 8 * boundaries == size, "'", file, "' has ", size,
      " bytes, which does not fit its header of ", sequences, " sequences and ", boundaries,
      " document boundaries (it is truncated, damaged or multimodal). Copy it again or tokenize the corpus again.");
  sequences_ = static_cast<std::int64_t>(sequences);
  documents_ = static_cast<std::int64_t>(boundaries) - 1;
  lengths_ = data.data() + header_bytes;
  offsets_ = lengths_ + 4 * sequences;
  boundaries_ = offsets_ + 8 * sequences;
}

void IndexedDataset::check_sequences() const {
  auto const item = static_cast<std::uint64_t>(size_of(type_));
  auto const bin_size = static_cast<std::uint64_t>(bin_.size());
  auto const offset = [&](std::int64_t i) { return load_unaligned<std::uint64_t>(offsets_ + 8 * i); };
  auto const bytes = [&](std::int64_t i) { return static_cast<std::uint64_t>(length(i)) * item; };
  parallel_for(sequences_, std::int64_t{1} << 16, [&](std::int64_t first, std::int64_t last) {
    std::uint64_t expected = first == 0 ? 0 : offset(first - 1) + bytes(first - 1);
    for (std::int64_t i = first; i < last; ++i) {
      bool const whole = offset(i) <= bin_size && bytes(i) <= bin_size - offset(i);
      if (length(i) < 0 || offset(i) != expected || !whole) [[unlikely]]
        fail_sequence(i, expected);
      expected += bytes(i);
    }
  });
}

void IndexedDataset::fail_sequence(std::int64_t sequence, std::uint64_t expected) const {
  auto const offset = load_unaligned<std::uint64_t>(offsets_ + 8 * sequence);
  auto const again = " Copy it again or tokenize the corpus again.";
  auto const file = index_.path().string();
  validate(length(sequence) >= 0, "'", file, "' gives sequence ", sequence, " the length ", length(sequence),
           " (it is damaged).", again);
  validate(offset == expected, "'", file, "' puts sequence ", sequence, " at byte ", offset, " where byte ", expected,
           " follows from the lengths (it is damaged).", again);
  throw Error(concat("'", bin_.path().string(), "' has ", bin_.size(), " bytes, too few for sequence ", sequence, " (",
                     length(sequence), " tokens from byte ", offset,
                     " on; it is truncated, or the .idx belongs to another corpus).", again));
}

void IndexedDataset::check_documents() const {
  auto const file = index_.path().string();
  validate(first_sequence(0) == 0 && first_sequence(documents_) == sequences_, "'", file,
           "' has document boundaries from sequence ", first_sequence(0), " to ", first_sequence(documents_),
           " (they must go from 0 to ", sequences_, "; it is damaged). Copy it again or tokenize the corpus again.");
  parallel_for(documents_, std::int64_t{1} << 16, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t d = first; d < last; ++d) {
      if (first_sequence(d) <= first_sequence(d + 1)) continue;
      throw Error(concat("'", file, "' has document ", d, " from sequence ", first_sequence(d), " to ",
                         first_sequence(d + 1), " (it is damaged). Copy it again or tokenize the corpus again."));
    }
  });
}

std::int64_t IndexedDataset::tokens() const {
  return sequences_ == 0 ? 0 : first_token(sequences_ - 1) + length(sequences_ - 1);
}

std::int64_t IndexedDataset::document_of(std::int64_t sequence) const {
  std::int64_t low = 0, high = documents_;  // first_sequence(low) <= sequence < first_sequence(high)
  while (high - low > 1) {
    std::int64_t const middle = low + (high - low) / 2;
    (first_sequence(middle) <= sequence ? low : high) = middle;
  }
  return low;
}

std::span<std::byte const> IndexedDataset::raw() const {
  return bin_.bytes().first(static_cast<std::size_t>(tokens() * size_of(type_)));
}

void IndexedDataset::read(std::int64_t sequence, std::int64_t first, std::span<std::int32_t> out) const {
  EXPECTS(sequence >= 0 && sequence < sequences_ && first >= 0);
  EXPECTS(first + static_cast<std::int64_t>(out.size()) <= length(sequence));
  if (out.empty()) return;
  auto const offset = load_unaligned<std::int64_t>(offsets_ + 8 * sequence);
  with_token_type(type_, [&](auto zero) {
    using Token = decltype(zero);
    std::byte const* from = bin_.bytes().data() + offset + first * std::int64_t{sizeof(Token)};
    if constexpr (std::is_same_v<Token, std::int32_t>) {
      std::memcpy(out.data(), from, out.size_bytes());
    } else {
      for (std::size_t i = 0; i < out.size(); ++i) {
        auto const token = load_unaligned<Token>(from + i * sizeof(Token));
        out[i] = static_cast<std::int32_t>(token);
        if constexpr (sizeof(Token) > 4) {
          validate(out[i] == token, "'", bin_.path().string(), "' has token id ", token, " in sequence ", sequence,
                   " at position ", first + static_cast<std::int64_t>(i),
                   " (ids above 2147483647 cannot be). The file is damaged; tokenize the corpus again.");
        }
      }
    }
  });
}

}  // namespace selenite
