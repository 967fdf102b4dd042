#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "data/numpy_random.hpp"

namespace selenite {

// The order in which GPT training sees a corpus: its sequences, repeated for as many epochs as needed and shuffled, are
// one stream of tokens; sample i is the sequence_length + 1 tokens from token i * sequence_length on; the samples are
// shuffled again. All of it is defined bit for bit, so that it equals the order of suites that use the same files.

/// What the indices of one split of one corpus are made from.
struct SampleRequest {
  std::optional<std::int64_t> samples;  // none: what one epoch gives
  std::int32_t sequence_length = 0;
  std::uint32_t seed = 0;
  bool drop_last = true;  // leave out the shorter sample at the end
};

/// How many epochs and samples a request comes to.
struct EpochPlan {
  std::int64_t epochs = 1;
  std::int64_t samples = 0;  // of all epochs together
  /// Samples before the last epoch, which is shuffled by itself when less than 80 % of it is asked for: otherwise the
  /// few documents of a begun epoch would be mixed into all the others. Equal to `samples` where that is not so.
  std::int64_t samples_before_last = 0;
  bool separate_last_epoch = false;
};

/// Throws Error if the request cannot be met (no tokens, or more epochs than an index can hold).
EpochPlan plan_epochs(std::int64_t tokens_per_epoch, std::int64_t sequences, SampleRequest const& request);

/// Sequence numbers first...last-1, `plan.epochs` times, shuffled: over all epochs, or the last one by itself.
std::vector<std::int32_t> build_document_index(std::int64_t first, std::int64_t last, EpochPlan const& plan,
                                               NumpyRandom& random);

/// For each sample and for the end, where it begins: [samples + 1, 2] of (place in the document index, token in that
/// sequence). The walk is a prefix sum, so it is built in pieces by all threads. `length(sequence)` gives tokens.
/// Row is int32, or int64 if the document index is longer than int32 can say.
template <class Row, class Length>
std::vector<Row> build_sample_index(std::span<std::int32_t const> document_index, EpochPlan const& plan,
                                    std::int32_t sequence_length, Length const& length);

/// The order of the samples. Index is uint32, or int64 from 2^32 - 2 samples on.
template <class Index>
std::vector<Index> build_shuffle_index(EpochPlan const& plan, NumpyRandom& random);

constexpr bool sample_index_is_wide(std::int64_t documents) {
  return documents > std::numeric_limits<std::int32_t>::max();
}
constexpr bool shuffle_index_is_wide(std::int64_t samples) { return samples >= (std::int64_t{1} << 32) - 2; }

}  // namespace selenite

#include "data/sample_index_impl.hpp"
