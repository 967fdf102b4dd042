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
constexpr double log2e = 1.4426950408889634;

/// The forward pass of one block of queries of one head: O^T += V^T P^T over blocks of keys, P^T = 2^(c K Q^T - max).
template <class T, class Arith>
class Forward {
  using Element = typename Arith::Element;

 public:
  Forward(Attention const& op, std::int64_t sample, std::int64_t head, std::int64_t block)
      : op_(op),
        s_(op.shape),
        sample_(sample),
        head_(head),
        first_(block * block_queries),
        queries_(Places(op.query_places, s_.queries), sample, first_, std::min(block_queries, s_.queries - first_)),
        groups_(groups_of(s_.head_dim, Arith::step)),
        room_(room_bytes(s_)) {
    q_ = {room_.template take<Element>(groups_ * block_queries), block_queries};
    k_ = {room_.template take<Element>(block_keys * groups_), groups_};
    v_ = {room_.template take<Element>(block_keys / Arith::step * s_.head_dim), s_.head_dim};
    out_ = {room_.template take<float>(s_.head_dim * block_queries), block_queries};
    scores_ = {room_.template take<float>(block_keys * block_queries), block_queries};
    if (dropout_.active()) keep_ = room_.template take<float>(block_keys * block_queries);
    if constexpr (Arith::step == 2)
      pairs_ = {room_.template take<Element>(block_keys / 2 * block_queries), block_queries};
  }

  /// The number of (query, key) pairs that were seen.
  std::int64_t run() {
    std::fill_n(out_.data, s_.head_dim * block_queries, 0.0f);
    max_.fill(-infinity), sum_.fill(0.0f);
    pack_transposed<Arith>(
        rows_of<T const>(op_.q, sample_ * s_.queries + first_, queries_.count, head_ * s_.head_dim, s_.head_dim), q_,
        block_queries);
    std::int64_t seen_pairs = 0;
    for (std::int64_t key = 0; key < s_.keys; key += block_keys)
      seen_pairs += add_keys(key, std::min(block_keys, s_.keys - key));
    finish();
    return seen_pairs;
  }

 private:
  static std::int64_t room_bytes(AttentionShape const& s) {
    return (4 * s.head_dim + 4 + 2 * block_keys + block_keys) * block_queries * 4 + 4096;
  }

  std::int64_t add_keys(std::int64_t key, std::int64_t count) {
    KeyPlaces const keys(Places(op_.key_places, s_.keys), sample_, key, count);
    Seen const visible = seen(s_.causal, queries_, keys);
    if (visible == Seen::nothing) return 0;
    std::int64_t const row = sample_ * s_.keys + key, col = head_ / (s_.heads / s_.kv_heads) * s_.head_dim;
    pack_rows<Arith>(rows_of<T const>(op_.k, row, count, col, s_.head_dim), k_);
    pack_groups<Arith>(rows_of<T const>(op_.v, row, count, col, s_.head_dim), v_, s_.head_dim, count);
    multiply<Arith, Stored::by_m>(count, block_queries, groups_, constant(k_), constant(q_), scores_, false);
    std::int64_t pairs = queries_.count * count;
    if (visible == Seen::some) pairs = hide(s_.causal, queries_, keys, scores_.data);
    softmax(count);
    if (dropout_.active()) drop(keys);
    std::int64_t const key_groups = groups_of(count, Arith::step);
    multiply<Arith, Stored::by_group>(s_.head_dim, block_queries, key_groups, constant(v_), probabilities(count), out_,
                                      true);
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
  void softmax(std::int64_t count) {
    auto const factor = static_cast<float>(s_.scale * log2e);
    for (std::int64_t j = 0; j < block_queries; j += lanes) {
      float* const column = scores_.data + j;
      Floats const old = load_floats(max_.data() + j);
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
      store_vector(sum_.data() + j, load_floats(sum_.data() + j) * correction + sum);
      store_vector(max_.data() + j, top);
      for (std::int64_t i = 0; i < s_.head_dim; ++i) {
        float* const o = out_.data + i * block_queries + j;
        store_vector(o, load_floats(o) * correction);
      }
    }
  }

  void drop(KeyPlaces const& keys) {
    draw_dropout(dropout_, sample_id(op_.sample_ids, sample_), static_cast<std::uint64_t>(s_.first_head + head_),
                 queries_, keys, keep_);
    for (std::int64_t i = 0; i < keys.count * block_queries; ++i) scores_.data[i] *= keep_[i];
  }

  /// Divides by the sums, merges with what is there, and writes rows.
  void finish() {
    for (std::int64_t i = 0; i < queries_.count; ++i) {
      auto const n = static_cast<std::size_t>(i);
      std::int64_t const row = sample_ * s_.queries + first_ + i;
      float* const logsumexp = op_.logsumexp.data<float>() + (sample_ * s_.heads + head_) * s_.queries + first_ + i;
      float here =
          sum_[n] > 0 || std::isnan(sum_[n]) ? static_cast<float>((max_[n] + std::log2(sum_[n])) / log2e) : -infinity;
      float const weight_here = here == -infinity ? 0.0f : 1.0f / sum_[n];
      if (op_.merge) {
        merge(i, row, weight_here, here, *logsumexp);
      } else {
        write(i, row, weight_here);
        *logsumexp = here;
      }
    }
  }
  void merge(std::int64_t i, std::int64_t row, float weight, float here, float& logsumexp) {
    float const top = std::max(here, logsumexp);
    if (top == -infinity) return write(i, row, 0.0f);
    float const a = std::exp(logsumexp - top), b = std::exp(here - top), all = a + b;
    float* const out = op_.out.data<float>() + row * op_.out.row_stride() + head_ * s_.head_dim;
    for (std::int64_t c = 0; c < s_.head_dim; ++c)
      out[c] = out[c] * (a / all) + out_.data[c * block_queries + i] * (weight * b / all);
    logsumexp = top + std::log(all);
  }
  void write(std::int64_t i, std::int64_t row, float weight) {
    std::int64_t const offset = row * op_.out.row_stride() + head_ * s_.head_dim;
    if (op_.out.dtype() == DType::fp32) {
      float* const out = op_.out.data<float>() + offset;
      for (std::int64_t c = 0; c < s_.head_dim; ++c) out[c] = out_.data[c * block_queries + i] * weight;
    } else {
      T* const out = op_.out.data<T>() + offset;
      for (std::int64_t c = 0; c < s_.head_dim; ++c) out[c] = T(out_.data[c * block_queries + i] * weight);
    }
  }

  Attention const& op_;
  AttentionShape const& s_;
  std::int64_t sample_, head_, first_;
  QueryPlaces queries_;
  AttentionDropout dropout_{s_.dropout};
  std::int64_t groups_;
  Room room_;
  Matrix<Element> q_, k_, v_, pairs_{};  // [group][query], [key][group], [key group][head_dim], [key group][query]
  Matrix<float> out_, scores_;           // [head_dim][query], [key][query]
  float* keep_ = nullptr;                // [key][query]
  alignas(64) std::array<float, block_queries> max_, sum_;  // of each query so far; max in units of log 2
};

}  // namespace

void launch(Cpu& cpu, Attention const& op) {
  check(op);
  AttentionShape const& s = op.shape;
  std::int64_t const blocks = (s.queries + block_queries - 1) / block_queries, heads = s.samples * s.heads;
  std::atomic<std::int64_t> pairs{0};
  with_arithmetic(op.q.dtype(), [&]<class T, class Arith>(T*, Arith) {
    parallel_for(heads * blocks, 1, [&](std::int64_t task, std::int64_t) {
      // a head's blocks follow each other (its keys stay in cache), the longest first
      std::int64_t const head = task / blocks, block = blocks - 1 - task % blocks;
      pairs += Forward<T, Arith>(op, head / s.heads, head % s.heads, block).run();
    });
  });
  cpu.flops += 4.0 * static_cast<double>(s.head_dim) * static_cast<double>(pairs.load());
}

}  // namespace selenite
