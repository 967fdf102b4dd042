#include <atomic>
#include <cmath>
#include <limits>

#include "core/cpu.hpp"
#include "core/parallel_for.hpp"
#include "kernels/attention/block_cpu.hpp"
#include "kernels/attention/check.hpp"

namespace selenite {
namespace {

using namespace attention_cpu;
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t blocks_a_task = 4;  // their packed queries and sums share the second-level cache
constexpr double log2e = 1.4426950408889634;

/// The forward pass of some blocks of queries that read the same kv head: O^T += V^T P^T over blocks of keys,
/// P^T = 2^(c K Q^T - max). Each block of keys is brought into the cache and packed once for all of them.
template <class T, class Arith>
class Forward {
  using Element = typename Arith::Element;

 public:
  Forward(Attention const& op, std::int64_t sample, std::int64_t kv_head)
      : op_(op),
        s_(op.shape),
        sample_(sample),
        kv_head_(kv_head),
        groups_(groups_of(s_.head_dim, Arith::step)),
        room_(room_bytes(s_)) {
    k_ = {room_.template take<Element>(block_keys * groups_), groups_};
    v_ = {room_.template take<Element>(block_keys / Arith::step * s_.head_dim), block_keys / Arith::step};
    scores_ = {room_.template take<float>(block_keys * block_queries), block_queries};
    if (dropout_.active()) keep_ = room_.template take<float>(block_keys * block_queries);
    if constexpr (Arith::step == 2)
      pairs_ = {room_.template take<Element>(block_keys / 2 * block_queries), block_queries};
  }

  void add_queries(std::int64_t head, std::int64_t first) {
    Queries& b = blocks_[static_cast<std::size_t>(count_++)];
    b.head = head, b.first = first;
    b.places =
        QueryPlaces(Places(op_.query_places, s_.queries), sample_, first, std::min(block_queries, s_.queries - first));
    b.q = {room_.template take<Element>(groups_ * block_queries), block_queries};
    b.out = {room_.template take<float>(s_.head_dim * block_queries), block_queries};
    std::fill_n(b.out.data, s_.head_dim * block_queries, 0.0f);
    b.max.fill(-infinity), b.sum.fill(0.0f);
    std::int64_t const row = sample_ * s_.queries + first;
    pack_transposed<Arith>(rows_of<T const>(op_.q, row, b.places.count, head * s_.head_dim, s_.head_dim), b.q,
                           block_queries);
  }

  /// The number of (query, key) pairs that were seen.
  std::int64_t run() {
    std::int64_t pairs = 0;
    for (std::int64_t key = 0; key < s_.keys; key += block_keys) {
      KeyPlaces const keys(Places(op_.key_places, s_.keys), sample_, key, std::min(block_keys, s_.keys - key));
      bool packed = false;
      for (std::int64_t i = 0; i < count_; ++i) {
        Queries& b = blocks_[static_cast<std::size_t>(i)];
        Seen const visible = seen(s_.causal, b.places, keys);
        if (visible == Seen::nothing) continue;
        if (!packed) load_keys(key, keys.count);
        packed = true;
        pairs += attend(b, keys, visible);
      }
    }
    for (std::int64_t i = 0; i < count_; ++i) finish(blocks_[static_cast<std::size_t>(i)]);
    return pairs;
  }

 private:
  struct Queries {
    std::int64_t head = 0, first = 0;
    QueryPlaces places;
    Matrix<Element> q;                                      // [group of head_dim][query]
    Matrix<float> out;                                      // [head_dim][query]
    alignas(64) std::array<float, block_queries> max, sum;  // of each query so far; max in units of log 2
  };

  static std::int64_t room_bytes(AttentionShape const& s) {
    std::int64_t const keys = 2 * s.head_dim + 3 * block_queries, queries = 2 * s.head_dim + 2;
    return (keys * block_keys + blocks_a_task * queries * block_queries) * 4 + 4096;
  }

  void load_keys(std::int64_t key, std::int64_t count) {
    std::int64_t const row = sample_ * s_.keys + key, col = kv_head_ * s_.head_dim;
    pack_rows<Arith>(rows_of<T const>(op_.k, row, count, col, s_.head_dim), k_);
    pack_columns<Arith>(rows_of<T const>(op_.v, row, count, col, s_.head_dim), v_, count);
  }

  std::int64_t attend(Queries& b, KeyPlaces const& keys, Seen visible) {
    std::int64_t const count = keys.count;
    multiply<Arith>(unit_, count, block_queries, groups_, constant(k_), constant(b.q), scores_, false);
    std::int64_t const pairs =
        visible == Seen::some ? hide(s_.causal, b.places, keys, scores_.data) : b.places.count * count;
    softmax(b, count);
    if (dropout_.active()) drop(b, keys);
    multiply<Arith>(unit_, s_.head_dim, block_queries, groups_of(count, Arith::step), constant(v_),
                    probabilities(count), b.out, true);
    return pairs;
  }

  static Matrix<Element const> constant(Matrix<Element> x) { return {x.data, x.stride}; }

  /// P^T as the products read it.
  Matrix<Element const> probabilities(std::int64_t count) {
    if constexpr (Arith::step == 2) {
      pair_rows({scores_.data, block_queries}, count, block_queries, pairs_);
      return constant(pairs_);
    } else {
      return constant(scores_);
    }
  }

  /// Turns scores into exp(score - running maximum), and corrects the sums so far where the maximum has grown.
  void softmax(Queries& b, std::int64_t count) {
    auto const factor = static_cast<float>(s_.scale * log2e);
    for (std::int64_t j = 0; j < block_queries; j += lanes) {
      float* const column = scores_.data + j;
      Floats const old = load_floats(b.max.data() + j);
      Floats top = old;
      for (std::int64_t i = 0; i < count; ++i) {
        Floats const score = load_floats(column + i * block_queries) * factor;
        store_vector(column + i * block_queries, score);
        top = attention_cpu::max(top, score);
      }
      Floats const none = Floats{} - infinity;
      Floats const base = top == none ? Floats{} : top;  // a row that has seen nothing: 2^(-inf - 0) = 0
      Floats sum{};
      for (std::int64_t i = 0; i < count; ++i) {
        Floats const p = attention_cpu::exp2(load_floats(column + i * block_queries) - base);
        store_vector(column + i * block_queries, p);
        sum += p;
      }
      Floats const correction = attention_cpu::exp2(old - base);
      store_vector(b.sum.data() + j, load_floats(b.sum.data() + j) * correction + sum);
      store_vector(b.max.data() + j, top);
      for (std::int64_t i = 0; i < s_.head_dim; ++i) {
        float* const o = b.out.data + i * block_queries + j;
        store_vector(o, load_floats(o) * correction);
      }
    }
  }

  void drop(Queries const& b, KeyPlaces const& keys) {
    draw_dropout(dropout_, sample_id(op_.sample_ids, sample_), static_cast<std::uint64_t>(s_.first_head + b.head),
                 b.places, keys, keep_);
    for (std::int64_t i = 0; i < keys.count * block_queries; ++i) scores_.data[i] *= keep_[i];
  }

  /// Divides by the sums, merges with what is there, and writes rows.
  void finish(Queries& b) {
    for (std::int64_t i = 0; i < b.places.count; ++i) {
      auto const n = static_cast<std::size_t>(i);
      std::int64_t const row = sample_ * s_.queries + b.first + i;
      float* const logsumexp = op_.logsumexp.data<float>() + (sample_ * s_.heads + b.head) * s_.queries + b.first + i;
      float here = b.sum[n] > 0 || std::isnan(b.sum[n]) ? static_cast<float>((b.max[n] + std::log2(b.sum[n])) / log2e)
                                                        : -infinity;
      float const weight_here = here == -infinity ? 0.0f : 1.0f / b.sum[n];
      if (op_.merge) {
        merge(b, i, row, weight_here, here, *logsumexp);
      } else {
        write(b, i, row, weight_here);
        *logsumexp = here;
      }
    }
  }
  void merge(Queries const& b, std::int64_t i, std::int64_t row, float weight, float here, float& logsumexp) {
    float const top = std::max(here, logsumexp);
    if (top == -infinity) return write(b, i, row, 0.0f);
    float const there = std::exp(logsumexp - top), added = std::exp(here - top), all = there + added;
    float* const out = op_.out.data<float>() + row * op_.out.row_stride() + b.head * s_.head_dim;
    for (std::int64_t c = 0; c < s_.head_dim; ++c)
      out[c] = out[c] * (there / all) + b.out.data[c * block_queries + i] * (weight * added / all);
    logsumexp = top + std::log(all);
  }
  void write(Queries const& b, std::int64_t i, std::int64_t row, float weight) {
    std::int64_t const offset = row * op_.out.row_stride() + b.head * s_.head_dim;
    if (op_.out.dtype() == DType::fp32) {
      float* const out = op_.out.data<float>() + offset;
      for (std::int64_t c = 0; c < s_.head_dim; ++c) out[c] = b.out.data[c * block_queries + i] * weight;
    } else {
      T* const out = op_.out.data<T>() + offset;
      for (std::int64_t c = 0; c < s_.head_dim; ++c) out[c] = T(b.out.data[c * block_queries + i] * weight);
    }
  }

  Attention const& op_;
  AttentionShape const& s_;
  std::int64_t sample_, kv_head_;
  AttentionDropout dropout_{s_.dropout};
  std::int64_t groups_;
  Room room_;
  MatrixUnit unit_;
  Matrix<Element> k_, v_, pairs_{};  // [key][group], [head_dim][group of keys], [group of keys][query]
  Matrix<float> scores_;             // [key][query]
  float* keep_ = nullptr;            // [key][query]
  std::int64_t count_ = 0;
  std::array<Queries, blocks_a_task> blocks_;
};

}  // namespace

void launch(Cpu& cpu, Attention const& op) {
  check(op);
  AttentionShape const& s = op.shape;
  // units of work: (block of queries, head of the group), the heads that read the same keys side by side
  std::int64_t const group = s.heads / s.kv_heads, units = (s.queries + block_queries - 1) / block_queries * group;
  std::int64_t const tasks = (units + blocks_a_task - 1) / blocks_a_task;
  std::atomic<std::int64_t> pairs{0};
  with_arithmetic(op.q.dtype(), [&]<class T, class Arith>(T*, Arith) {
    parallel_for(s.samples * s.kv_heads * tasks, 1, [&](std::int64_t task, std::int64_t) {
      std::int64_t const head = task / tasks, begin = (tasks - 1 - task % tasks) * blocks_a_task;  // the longest first
      Forward<T, Arith> forward(op, head / s.kv_heads, head % s.kv_heads);
      for (std::int64_t unit = begin; unit < std::min(begin + blocks_a_task, units); ++unit)
        forward.add_queries(head % s.kv_heads * group + unit % group, unit / group * block_queries);
      pairs += forward.run();
    });
  });
  cpu.flops += 4.0 * static_cast<double>(s.head_dim) * static_cast<double>(pairs.load());
}

}  // namespace selenite
