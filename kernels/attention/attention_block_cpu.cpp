#include <algorithm>
#include <limits>
#include <memory>
#include <new>

#include "kernels/attention/block_cpu.hpp"

namespace selenite::attention_cpu {
namespace {

struct AlignedDelete {
  void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{64}); }
};
/// A thread's room for packed blocks: scratch without a meaning between tasks.
thread_local std::unique_ptr<std::byte[], AlignedDelete> room;
thread_local std::int64_t room_bytes = 0;

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

Seen seen(bool causal, QueryPlaces const& q, KeyPlaces const& k) {
  if (k.last < q.first_start) return Seen::nothing;
  bool const inside = k.first >= q.last_start;
  if (causal) {
    if (k.first > q.last) return Seen::nothing;
    return inside && k.last <= q.first ? Seen::all : Seen::some;
  }
  if (k.first_start > q.last_start || k.last_start < q.first_start) return Seen::nothing;
  bool const one_document = q.first_start == q.last_start && k.first_start == k.last_start;
  return inside && one_document ? Seen::all : Seen::some;
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
  auto const scale = static_cast<float>(dropout.keep_scale());
  for (std::size_t i = 0; i < static_cast<std::size_t>(q.count); ++i) {
    std::int32_t octet = -1;
    std::uint32_t bits = 0;
    for (std::size_t j = 0; j < static_cast<std::size_t>(k.count); ++j) {
      std::int32_t const position = k.positions[j];
      if (position / 8 != octet) {
        octet = position / 8;
        bits = dropout.dropped(sample, head, static_cast<std::uint64_t>(q.positions[i]),
                               static_cast<std::uint64_t>(octet));
      }
      keep[j * block_queries + i] = bits >> (position % 8) & 1u ? 0.0f : scale;
    }
  }
}

}  // namespace selenite::attention_cpu
