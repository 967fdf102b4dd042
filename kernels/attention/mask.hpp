#pragma once
#include <cstdint>

#include "core/rng.hpp"
#include "kernels/attention/attention.hpp"

namespace selenite {

/// Where a token is: its sequence position and the position at which its document starts.
struct Place {
  std::int32_t position = 0, document_start = 0;
};

/// The places of a chunk's tokens, with the defaults of AttentionPlaces filled in.
class Places {
 public:
  Places(AttentionPlaces const& places, std::int64_t length)
      : positions_(places.positions.defined() ? places.positions.data<std::int32_t>() : nullptr),
        starts_(places.document_starts.defined() ? places.document_starts.data<std::int32_t>() : nullptr),
        positions_stride_(stride(places.positions, length)),
        starts_stride_(stride(places.document_starts, length)) {}

  Place operator()(std::int64_t sample, std::int64_t index) const {
    return {positions_ ? positions_[sample * positions_stride_ + index] : static_cast<std::int32_t>(index),
            starts_ ? starts_[sample * starts_stride_ + index] : 0};
  }
  bool has_documents() const { return starts_ != nullptr; }

 private:
  static std::int64_t stride(Tensor const& x, std::int64_t length) { return x.defined() ? x.row_stride() : length; }

  std::int32_t const* positions_;
  std::int32_t const* starts_;
  std::int64_t positions_stride_, starts_stride_;
};

/// Whether a query sees a key: the one definition of the attention mask.
constexpr bool sees(bool causal, Place query, Place key) {
  bool const document = key.position >= query.document_start;
  return causal ? document && key.position <= query.position : document && key.document_start == query.document_start;
}

/// Least and greatest of the positions and of the document starts of a block of tokens.
struct PlaceRange {
  std::int32_t first = 0, last = 0, first_start = 0, last_start = 0;
};

enum class Seen { nothing, some, all };

/// How much of a block of keys a block of queries sees, from their ranges; `some` may turn out to be nothing or all.
constexpr Seen seen(bool causal, PlaceRange const& queries, PlaceRange const& keys) {
  if (keys.last < queries.first_start) return Seen::nothing;
  bool const inside = keys.first >= queries.last_start;
  if (causal) {
    if (keys.first > queries.last) return Seen::nothing;
    return inside && keys.last <= queries.first ? Seen::all : Seen::some;
  }
  if (keys.first_start > queries.last_start || keys.last_start < queries.first_start) return Seen::nothing;
  bool const one_document = queries.first_start == queries.last_start && keys.first_start == keys.last_start;
  return inside && one_document ? Seen::all : Seen::some;
}

/// Which probabilities attention dropout keeps. Pure in (seed, layer, sample, head, query position, key position), so
/// that forward, backward, every chunk of a ring and the stored-matrix path draw the same.
class AttentionDropout {
 public:
  constexpr explicit AttentionDropout(DropoutSite const& site)
      : site_(site), threshold_(dropout_threshold16(site.probability)) {}

  constexpr bool active() const { return threshold_ != 0; }
  constexpr std::uint32_t threshold() const { return threshold_; }
  /// What kept probabilities are multiplied by: the inverse of the chance of being kept, exact for 16-bit decisions.
  constexpr double keep_scale() const { return threshold_ < 65536u ? 65536.0 / (65536u - threshold_) : 0.0; }
  constexpr Words4 counter(std::uint64_t sample, std::uint64_t head, std::uint64_t query, std::uint64_t octet) const {
    return pack_counter(Purpose::attention_dropout, site_.layer, site_.site, sample,
                        attention_detail(head, query, octet));
  }
  constexpr std::uint64_t seed() const { return site_.seed; }

  /// Bit j is set if key position 8 * octet + j is dropped. Decision j is half j % 2 (low half first) of word j / 2.
  constexpr std::uint32_t dropped(std::uint64_t sample, std::uint64_t head, std::uint64_t query,
                                  std::uint64_t octet) const {
    Words4 const words = philox(counter(sample, head, query, octet), site_.seed);
    std::uint32_t bits = 0;
    for (std::uint32_t j = 0; j < 8; ++j) {
      std::uint32_t const decision = words[j / 2] >> (16 * (j % 2)) & 0xffffu;
      bits |= static_cast<std::uint32_t>(decision < threshold_) << j;
    }
    return bits;
  }
  constexpr bool drops(std::uint64_t sample, std::uint64_t head, std::uint64_t query, std::uint64_t key) const {
    return dropped(sample, head, query, key / 8) >> (key % 8) & 1u;
  }

 private:
  DropoutSite site_;
  std::uint32_t threshold_;
};

/// Global number of a sample of this micro-batch, for the masks; 0 without `sample_ids`.
inline std::uint64_t sample_id(Tensor const& sample_ids, std::int64_t sample) {
  return sample_ids.defined() ? static_cast<std::uint64_t>(sample_ids.data<std::int64_t>()[sample]) : 0u;
}

}  // namespace selenite
