#include <algorithm>
#include <limits>
#include <memory>
#include <new>

#include "core/simd_philox.hpp"
#include "kernels/attention/block_cpu.hpp"

namespace selenite::attention_cpu {
namespace {

struct AlignedDelete {
  void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
/// A thread's room for packed blocks: scratch without a meaning between tasks.
thread_local std::unique_ptr<std::byte[], AlignedDelete> room;
thread_local std::int64_t room_bytes = 0;

/// The decisions for keys 8 * octet, 8 * octet + 1, ... of one query: `octets` rounded up to whole vectors, times 8.
void decisions(AttentionDropout const& dropout, std::uint64_t sample, std::uint64_t head, std::uint64_t query,
               std::uint64_t octet, std::uint64_t octets, std::uint16_t* out) {
  using namespace simd;
  Words4 const counter = dropout.counter(sample, head, query, 0);
  Longs const c0 = Longs{} + counter[0], c1 = Longs{} + counter[1], c2 = Longs{} + counter[2];
  for (std::uint64_t i = 0; i < octets; i += simd::lanes / 2) {
    Longs const c3 = (count_up() + (octet + i)) << 8 | (Longs{} + counter[3]);  // as attention_detail packs it
    PhiloxWords const words = simd::philox(c0, c1, c2, c3, dropout.seed());
    std::memcpy(out + 8 * i, &words.first, sizeof words.first);
    std::memcpy(out + 8 * i + 2 * simd::lanes, &words.second, sizeof words.second);
  }
}

/// draw_dropout for keys at consecutive positions.
void draw_consecutive(AttentionDropout const& dropout, std::uint64_t sample, std::uint64_t head, QueryPlaces const& q,
                      KeyPlaces const& k, float* keep) {
  auto const first = static_cast<std::uint64_t>(k.first), octet = first / 8;
  std::uint64_t const octets = static_cast<std::uint64_t>(k.last) / 8 + 1 - octet;
  auto const scale = static_cast<float>(dropout.keep_scale());
  std::uint32_t const threshold = dropout.threshold();
  alignas(64) std::array<std::uint16_t, 2 * block_keys> drawn;  // at most 9 octets, rounded up to 16
  for (std::size_t i = 0; i < static_cast<std::size_t>(q.count); ++i) {
    decisions(dropout, sample, head, static_cast<std::uint64_t>(q.positions[i]), octet, octets, drawn.data());
    std::uint16_t const* const decision = drawn.data() + first % 8;
    for (std::size_t j = 0; j < static_cast<std::size_t>(k.count); ++j)
      keep[j * block_queries + i] = decision[j] < threshold ? 0.0f : scale;
  }
}

}  // namespace

Room::Room(std::int64_t bytes) {
  if (bytes > room_bytes) {
    room.reset();
    room_bytes = 0;
    room.reset(new (std::align_val_t{64}) std::byte[static_cast<std::size_t>(bytes)]);
    room_bytes = bytes;
  }
  next_ = room.get();
}

std::int64_t hide(bool causal, QueryPlaces const& q, KeyPlaces const& k, float* scores) {
  std::int64_t pairs = 0;
  for (std::int64_t j = 0; j < k.count; ++j) {
    auto const key = static_cast<std::size_t>(j);
    Place const place{k.positions[key], k.starts[key]};
    std::int32_t row = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(block_queries); ++i) {
      bool const visible = sees(causal, {q.positions[i], q.starts[i]}, place);
      float& score = scores[j * block_queries + static_cast<std::int64_t>(i)];
      score = visible ? score : -std::numeric_limits<float>::infinity();
      row += visible && i < static_cast<std::size_t>(q.count);
    }
    pairs += row;
  }
  return pairs;
}

void draw_dropout(AttentionDropout const& dropout, std::uint64_t sample, std::uint64_t head, QueryPlaces const& q,
                  KeyPlaces const& k, float* keep) {
  // Queries beyond the last take part in whole vectors of sums: what they hold must be a number.
  for (std::int64_t j = 0; j < k.count; ++j)
    std::fill(keep + j * block_queries + q.count, keep + (j + 1) * block_queries, 0.0f);
  if (k.consecutive()) return draw_consecutive(dropout, sample, head, q, k, keep);
  auto const scale = static_cast<float>(dropout.keep_scale());
  for (std::size_t i = 0; i < static_cast<std::size_t>(q.count); ++i)
    for (std::size_t j = 0; j < static_cast<std::size_t>(k.count); ++j) {
      auto const query = static_cast<std::uint64_t>(q.positions[i]), key = static_cast<std::uint64_t>(k.positions[j]);
      keep[j * block_queries + i] = dropout.drops(sample, head, query, key) ? 0.0f : scale;
    }
}

}  // namespace selenite::attention_cpu
