#pragma once
// Templates of sample_index.hpp.
#include <numeric>

#include "core/parallel_for.hpp"

namespace selenite {

template <class Row, class Length>
std::vector<Row> build_sample_index(std::span<std::int32_t const> document_index, EpochPlan const& plan,
                                    std::int32_t sequence_length, Length const& length) {
  constexpr std::int64_t grain = std::int64_t{1} << 14;
  auto const documents = std::ssize(document_index);
  // Tokens before each piece of the document index.
  std::vector<std::int64_t> before(static_cast<std::size_t>((documents + grain - 1) / grain));
  parallel_for(documents, grain, [&](std::int64_t first, std::int64_t last) {
    std::int64_t sum = 0;
    for (std::int64_t d = first; d < last; ++d) sum += length(document_index[static_cast<std::size_t>(d)]);
    before[static_cast<std::size_t>(first / grain)] = sum;
  });
  std::exclusive_scan(before.begin(), before.end(), before.begin(), std::int64_t{0});

  // Row r > 0 is the sequence that holds token r * sequence_length (which ends sample r - 1 and begins sample r).
  std::vector<Row> rows(static_cast<std::size_t>(2 * (plan.samples + 1)));
  std::int64_t const stride = sequence_length;
  auto const walk = [&](std::int64_t first, std::int64_t last) {
    std::int64_t token = before[static_cast<std::size_t>(first / grain)];
    std::int64_t row = std::max<std::int64_t>(1, (token + stride - 1) / stride);
    for (std::int64_t d = first; d < last; ++d) {
      std::int64_t const end = token + length(document_index[static_cast<std::size_t>(d)]);
      for (; row <= plan.samples && row * stride < end; ++row) {
        rows[static_cast<std::size_t>(2 * row)] = static_cast<Row>(d);
        rows[static_cast<std::size_t>(2 * row + 1)] = static_cast<Row>(row * stride - token);
      }
      token = end;
    }
    if (last < documents) return;
    for (; row <= plan.samples; ++row) {  // only where a shorter last sample is kept: it ends at the last token
      rows[static_cast<std::size_t>(2 * row)] = static_cast<Row>(documents - 1);
      rows[static_cast<std::size_t>(2 * row + 1)] =
          static_cast<Row>(length(document_index[static_cast<std::size_t>(documents - 1)]) - 1);
    }
  };
  parallel_for(documents, grain, walk);
  return rows;
}

template <class Index>
std::vector<Index> build_shuffle_index(EpochPlan const& plan, NumpyRandom& random) {
  std::vector<Index> order(static_cast<std::size_t>(plan.samples));
  std::iota(order.begin(), order.end(), Index{0});
  auto const all = std::span(order);
  auto const head = static_cast<std::size_t>(plan.samples_before_last);
  random.shuffle(all.first(head));
  if (head < all.size()) random.shuffle(all.subspan(head));
  return order;
}

}  // namespace selenite
