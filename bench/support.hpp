#pragma once
#include <chrono>
#include <cstdint>

#include "model/batch.hpp"

namespace selenite {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Tokens that look like nothing: the arithmetic does not depend on them.
inline void fill(Batch& b, std::int64_t vocab) {
  for (std::int64_t t = 0; t < b.count(); ++t) {
    b.tokens.data<std::int32_t>()[t] = static_cast<std::int32_t>((t * 2654435761u) % static_cast<std::uint64_t>(vocab));
    b.labels.data<std::int32_t>()[t] = static_cast<std::int32_t>((t * 40503u + 7) % static_cast<std::uint64_t>(vocab));
    b.weights.data<std::uint8_t>()[t] = 1;
    auto const place = static_cast<std::int32_t>(b.place(t % b.sequence));
    b.positions.data<std::int32_t>()[t] = b.places.data<std::int32_t>()[t] = place;
    if (b.document_starts.defined()) b.document_starts.data<std::int32_t>()[t] = 0;
    b.token_samples.data<std::int64_t>()[t] = t / b.sequence;
  }
  for (std::int64_t s = 0; s < b.samples; ++s) b.sample_ids.data<std::int64_t>()[s] = s;
}

}  // namespace selenite
