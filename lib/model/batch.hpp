#pragma once
#include "core/grid.hpp"
#include "core/tensor.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/dropout/dropout.hpp"

namespace selenite {

/// One micro-batch on the device, sample-major: token = sample * sequence + index. All int32 [tokens] but where noted.
/// `sequence` tokens of every sample are this rank's: all of them, or two chunks where context ranks share them.
struct Batch {
  std::int64_t samples = 0, sequence = 0;
  std::int64_t context_ranks = 1, context_index = 0;
  Tensor tokens, labels;
  Tensor weights;          ///< uint8: 1 where the label counts
  Tensor positions;        ///< for the position encoding (reset at documents if the config says so)
  Tensor places;           ///< sequence position of the token in its sample, never reset
  Tensor document_starts;  ///< place at which the token's document starts; undefined without document mask
  Tensor token_samples;    ///< int64 [tokens]: global sample number
  Tensor sample_ids;       ///< int64 [samples]
  bool dropout = true;     ///< false in evaluation

  std::int64_t count() const { return samples * sequence; }
  /// The place in its sample of token `index`.
  std::int64_t place(std::int64_t index) const { return zigzag_place(index, sequence, context_ranks, context_index); }
  TokenPlaces token_places() const { return {token_samples, places}; }
  /// The same memory as a smaller batch.
  Batch first(std::int64_t fewer_samples, std::int64_t shorter) const {
    Batch b = *this;
    b.samples = fewer_samples, b.sequence = shorter;
    for (Tensor* t : {&b.tokens, &b.labels, &b.weights, &b.positions, &b.places, &b.document_starts, &b.token_samples})
      if (t->defined()) *t = Tensor(t->raw(), t->dtype(), {b.count()}, t->device());
    b.sample_ids = Tensor(b.sample_ids.raw(), b.sample_ids.dtype(), {fewer_samples}, b.sample_ids.device());
    return b;
  }
  /// The site as it acts on this batch.
  DropoutSite active(DropoutSite site) const {
    if (!dropout) site.probability = 0;
    return site;
  }
  /// What the host knows of the places that context rank `index` has.
  PositionRuns place_runs(std::int64_t index) const {
    if (context_ranks == 1) return {.count = 1};
    auto const first = [&](std::int64_t i) { return zigzag_place(i, sequence, context_ranks, index); };
    return {.count = 2, .first = {first(0), first(sequence / 2)}};
  }
  /// By sample, as attention takes them; undefined without document mask.
  AttentionPlaces attention_places() const {
    if (!document_starts.defined()) return {};
    return {places.reshaped({samples, sequence}), document_starts.reshaped({samples, sequence}),
            place_runs(context_index)};
  }
};

}  // namespace selenite
