#pragma once
#include <algorithm>
#include <array>
#include <memory>

#include "kernels/attention/mask.hpp"
#include "kernels/attention/pack_cpu.hpp"

/// Blocks of queries and of keys, and what one does to their scores between the products. Scores are kept transposed,
/// [key][query]: then maxima and sums over keys are sums of vectors, and neither K nor V nor P is ever transposed.
namespace selenite::attention_cpu {

inline constexpr std::int64_t block_queries = 64, block_keys = 64;

/// The places of a block's tokens, and their ranges.
template <std::int64_t capacity>
struct BlockPlaces : PlaceRange {
  std::int64_t count = 0;
  alignas(64) std::array<std::int32_t, capacity> positions, starts;

  BlockPlaces() = default;
  BlockPlaces(Places const& places, std::int64_t sample, std::int64_t begin, std::int64_t n) : count(n) {
    for (std::int64_t i = 0; i < n; ++i) {
      Place const place = places(sample, begin + i);
      positions[static_cast<std::size_t>(i)] = place.position;
      starts[static_cast<std::size_t>(i)] = place.document_start;
    }
    first = last = positions[0], first_start = last_start = starts[0];
    for (std::size_t i = 1; i < static_cast<std::size_t>(n); ++i) {
      first = std::min(first, positions[i]), last = std::max(last, positions[i]);
      first_start = std::min(first_start, starts[i]), last_start = std::max(last_start, starts[i]);
    }
    for (auto i = static_cast<std::size_t>(n); i < static_cast<std::size_t>(capacity); ++i)
      positions[i] = positions[0], starts[i] = starts[0];
  }
  bool consecutive() const {
    bool all = true;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      all &= positions[i] == first + static_cast<std::int32_t>(i);
    return all;
  }
};
using QueryPlaces = BlockPlaces<block_queries>;
using KeyPlaces = BlockPlaces<block_keys>;

/// Sets the scores [key][query] of hidden pairs to -infinity; the number of pairs that are seen.
std::int64_t hide(bool causal, QueryPlaces const& queries, KeyPlaces const& keys, float* scores);
/// keep[key][query] = 0 where dropout drops, else `scale`.
void draw_dropout(AttentionDropout const& dropout, std::uint64_t sample, std::uint64_t head, QueryPlaces const& queries,
                  KeyPlaces const& keys, float* keep);

/// Calls body(typed null pointer, Arith) for the dtype of the inputs; throws for dtypes that the CPU kernels do not
/// take.
template <class Body>
void with_arithmetic(DType type, Body body) {
  switch (type) {
    case DType::fp32:
      return body(static_cast<float*>(nullptr), Singles{});
    case DType::fp16:
      return body(static_cast<fp16*>(nullptr), Singles{});
    case DType::bf16:
      if constexpr (bf16_pairs) return body(static_cast<bf16*>(nullptr), Pairs{});
      return body(static_cast<bf16*>(nullptr), Singles{});
    default:
      break;
  }
  throw Error(concat("Attention on ", name(type), " (the CPU kernel takes fp32, bf16 and fp16). Convert the inputs."));
}

}  // namespace selenite::attention_cpu
