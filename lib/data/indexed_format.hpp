#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/error.hpp"
#include "data/indexed.hpp"

namespace selenite::indexed_format {

// The .idx file, little-endian and packed: magic, uint64 version, uint8 type, uint64 S, uint64 D, then int32 [S]
// lengths, int64 [S] byte offsets, int64 [D] document boundaries (D is the number of documents plus one).
inline constexpr std::array<char, 9> magic = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0};
inline constexpr std::uint64_t version = 1;
inline constexpr std::int64_t version_at = 9;
inline constexpr std::int64_t type_at = 17;
inline constexpr std::int64_t sequences_at = 18;
inline constexpr std::int64_t boundaries_at = 26;
inline constexpr std::int64_t header_bytes = 34;

/// Calls visit with a value of the C++ type that `type` names. Throws Error for the float types.
template <class Visit>
decltype(auto) with_token_type(TokenType type, Visit&& visit) {
  switch (type) {
    case TokenType::uint8:
      return visit(std::uint8_t{});
    case TokenType::int8:
      return visit(std::int8_t{});
    case TokenType::int16:
      return visit(std::int16_t{});
    case TokenType::int32:
      return visit(std::int32_t{});
    case TokenType::int64:
      return visit(std::int64_t{});
    case TokenType::uint16:
      return visit(std::uint16_t{});
    case TokenType::float64:
    case TokenType::float32:
      break;
  }
  throw Error(concat("Tokens of type ", name(type), " cannot be used (token ids are integers). Write the corpus again",
                     " with an integer type."));
}

}  // namespace selenite::indexed_format
