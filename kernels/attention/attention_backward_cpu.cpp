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

/// Sums for dk and dv of all keys of one (sample, kv head), [keys][padded head_dim] each.
struct KeySums {
  float *dk, *dv;
  std::int64_t stride;
};

/// Reads a row of a tensor of T or fp32 as floats.
template <class T>
void load_row(Tensor const& x, std::int64_t row, std::int64_t col, std::int64_t n, float* to) {
  std::int64_t const offset = row * x.row_stride() + col;
  if (x.dtype() == DType::fp32) {
    std::copy_n(x.data<float>() + offset, n, to);
  } else {
    T const* const from = x.data<T>() + offset;
    for (std::int64_t i = 0; i < n; ++i) to[i] = static_cast<float>(from[i]);
  }
}
/// Writes (or, fp32 only, adds) floats to a row of a tensor of T or fp32.
template <class T>
void store_row(Tensor const& x, std::int64_t row, std::int64_t col, std::int64_t n, float const* from, bool add) {
  std::int64_t const offset = row * x.row_stride() + col;
  if (x.dtype() == DType::fp32) {
    float* const to = x.data<float>() + offset;
    for (std::int64_t i = 0; i < n; ++i) to[i] = add ? to[i] + from[i] : from[i];
  } else {
    T* const to = x.data<T>() + offset;
    for (std::int64_t i = 0; i < n; ++i) to[i] = T(add ? static_cast<float>(to[i]) + from[i] : from[i]);
  }
}

/// The backward pass of some blocks of queries that read the same kv head; P^T and dS^T are made again block by block,
/// [key][query]: dV += P^T dO, dP^T = V dO^T, dS^T = P^T (dP^T - delta), dK += dS^T Q, dQ^T += K^T dS^T.
template <class T, class Arith>
class Backward {
  using Element = typename Arith::Element;

 public:
  Backward(AttentionBackward const& op, std::int64_t sample, std::int64_t kv_head, KeySums sums)
      : op_(op),
        s_(op.shape),
        sample_(sample),
        kv_head_(kv_head),
        sums_(sums),
        groups_(groups_of(s_.head_dim, Arith::step)),
        room_(room_bytes(s_)) {
    d_ = sums.stride, query_groups_ = block_queries / Arith::step;
    k_ = {room_.template take<Element>(block_keys * groups_), groups_};
    v_ = {room_.template take<Element>(block_keys * groups_), groups_};
    k_columns_ = {room_.template take<Element>(block_keys / Arith::step * s_.head_dim), block_keys / Arith::step};
    p_ = {room_.template take<float>(block_keys * block_queries), block_queries};
    ds_ = {room_.template take<float>(block_keys * block_queries), block_queries};
    row_ = room_.template take<float>(2 * s_.head_dim);
    if (dropout_.active()) keep_ = room_.template take<float>(block_keys * block_queries);
    if constexpr (Arith::step == 2) pairs_ = {room_.template take<Element>(block_keys * block_queries / 2), 0};
    for (Queries& b : blocks_) make_room(b);
  }

  /// The next block of queries, until `run`.
  void add_queries(std::int64_t head, std::int64_t first) {
    Queries& b = blocks_[static_cast<std::size_t>(count_++)];
    b.head = head, b.first = first;
    load_queries(b);
  }
  bool full() const { return count_ == blocks_a_task; }

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
        pairs += attend(b, key, keys, visible);
      }
    }
    for (std::int64_t i = 0; i < count_; ++i) store_queries(blocks_[static_cast<std::size_t>(i)]);
    count_ = 0;
    return pairs;
  }

 private:
  struct Queries {
    std::int64_t head = 0, first = 0;
    QueryPlaces places;
    Matrix<Element> q_t, dout_t;                                    // [group of head_dim][query]
    Matrix<Element> q, dout;                                        // [group of queries][head_dim]
    Matrix<float> dq;                                               // [head_dim][query]
    alignas(64) std::array<float, block_queries> logsumexp, delta;  // logsumexp in units of log 2
  };

  static std::int64_t room_bytes(AttentionShape const& s) {
    std::int64_t const d = padded_head_dim(s) + 2, keys = 3 * d + 4 * block_queries, queries = 5 * d;
    return (keys * block_keys + blocks_a_task * queries * block_queries) * 4 + 8 * s.head_dim + 8192;
  }
  static Matrix<Element const> constant(Matrix<Element> x) { return {x.data, x.stride}; }

  void make_room(Queries& b) {
    b.q_t = {room_.template take<Element>(groups_ * block_queries), block_queries};
    b.dout_t = {room_.template take<Element>(groups_ * block_queries), block_queries};
    b.q = {room_.template take<Element>(query_groups_ * d_), d_};
    b.dout = {room_.template take<Element>(query_groups_ * d_), d_};
    b.dq = {room_.template take<float>(s_.head_dim * block_queries), block_queries};
  }

  std::int64_t attend(Queries& b, std::int64_t key, KeyPlaces const& keys, Seen visible) {
    std::int64_t const count = keys.count;
    multiply<Arith>(unit_, count, block_queries, groups_, constant(k_), constant(b.q_t), p_, false);
    std::int64_t const pairs =
        visible == Seen::some ? hide(s_.causal, b.places, keys, p_.data) : b.places.count * count;
    multiply<Arith>(unit_, count, block_queries, groups_, constant(v_), constant(b.dout_t), ds_, false);
    if (dropout_.active())
      draw_dropout(dropout_, sample_id(op_.sample_ids, sample_), static_cast<std::uint64_t>(s_.first_head + b.head),
                   b.places, keys, keep_);
    differentiate(b, count);
    add_products(b, key, count);
    return pairs;
  }

  void load_queries(Queries& b) {
    std::int64_t const count = std::min(block_queries, s_.queries - b.first);
    std::int64_t const row = sample_ * s_.queries + b.first, col = b.head * s_.head_dim;
    b.places = QueryPlaces(Places(op_.query_places, s_.queries), sample_, b.first, count);
    auto const q = rows_of<T const>(op_.q, row, count, col, s_.head_dim);
    pack_transposed<Arith>(q, b.q_t, block_queries);
    pack_groups<Arith>(q, b.q, d_, block_queries);
    auto const dout = rows_of<T const>(op_.dout, row, count, col, s_.head_dim);
    pack_transposed<Arith>(dout, b.dout_t, block_queries);
    pack_groups<Arith>(dout, b.dout, d_, block_queries);
    std::fill_n(b.dq.data, s_.head_dim * block_queries, 0.0f);
    b.logsumexp.fill(infinity), b.delta.fill(0.0f);  // absent queries and queries that see nothing: P = 0
    for (std::int64_t i = 0; i < count; ++i) {
      std::int64_t const stat = (sample_ * s_.heads + b.head) * s_.queries + b.first + i;
      float const logsumexp = op_.logsumexp.data<float>()[stat];
      if (logsumexp != -infinity) b.logsumexp[static_cast<std::size_t>(i)] = static_cast<float>(logsumexp * log2e);
      if (op_.out.defined()) op_.delta.data<float>()[stat] = row_delta(row + i, col);
      b.delta[static_cast<std::size_t>(i)] = op_.delta.data<float>()[stat];
    }
  }
  float row_delta(std::int64_t row, std::int64_t col) {
    load_row<T>(op_.out, row, col, s_.head_dim, row_);
    load_row<T>(op_.dout, row, col, s_.head_dim, row_ + s_.head_dim);
    float sum = 0;
    for (std::int64_t c = 0; c < s_.head_dim; ++c) sum += row_[c] * row_[s_.head_dim + c];
    return sum;
  }

  void load_keys(std::int64_t key, std::int64_t count) {
    std::int64_t const row = sample_ * s_.keys + key, col = kv_head_ * s_.head_dim;
    auto const k = rows_of<T const>(op_.k, row, count, col, s_.head_dim);
    pack_rows<Arith>(k, k_);
    pack_columns<Arith>(k, k_columns_, count);
    pack_rows<Arith>(rows_of<T const>(op_.v, row, count, col, s_.head_dim), v_);
  }

  /// Scores and dP^T become P^T (as dV needs it, dropped) and dS^T without its scale.
  void differentiate(Queries const& b, std::int64_t count) {
    auto const factor = static_cast<float>(s_.scale * log2e);
    for (std::int64_t j = 0; j < block_queries; j += lanes) {
      Floats const logsumexp = load_floats(b.logsumexp.data() + j), delta = load_floats(b.delta.data() + j);
      for (std::int64_t i = j; i < count * block_queries; i += block_queries) {
        Floats const p = attention_cpu::exp2(load_floats(p_.data + i) * factor - logsumexp);
        Floats const keep = keep_ ? load_floats(keep_ + i) : Floats{} + 1.0f;
        store_vector(p_.data + i, p * keep);
        store_vector(ds_.data + i, p * (load_floats(ds_.data + i) * keep - delta));
      }
    }
  }

  void add_products(Queries& b, std::int64_t key, std::int64_t count) {
    std::int64_t const d = s_.head_dim;
    Matrix<float> const dk{sums_.dk + key * sums_.stride, sums_.stride},
        dv{sums_.dv + key * sums_.stride, sums_.stride};
    multiply<Arith>(unit_, count, d, query_groups_, by_key(p_, count), constant(b.dout), dv, true);
    multiply<Arith>(unit_, count, d, query_groups_, by_key(ds_, count), constant(b.q), dk, true);
    multiply<Arith>(unit_, d, block_queries, groups_of(count, Arith::step), constant(k_columns_), by_key_groups(count),
                    b.dq, true);
  }
  /// [key][group of queries], until the next call.
  Matrix<Element const> by_key(Matrix<float> x, std::int64_t count) {
    if constexpr (Arith::step == 2) {
      pairs_.stride = block_queries / 2;
      pair_columns({x.data, x.stride}, count, block_queries, pairs_);
      return constant(pairs_);
    } else {
      return constant(x);
    }
  }
  /// dS^T as [group of keys][query].
  Matrix<Element const> by_key_groups(std::int64_t count) {
    if constexpr (Arith::step == 2) {
      pairs_.stride = block_queries;
      pair_rows({ds_.data, ds_.stride}, count, block_queries, pairs_);
      return constant(pairs_);
    } else {
      return constant(ds_);
    }
  }

  void store_queries(Queries const& b) {
    auto const scale = static_cast<float>(s_.scale);
    for (std::int64_t i = 0; i < b.places.count; ++i) {
      for (std::int64_t c = 0; c < s_.head_dim; ++c) row_[c] = b.dq.data[c * block_queries + i] * scale;
      store_row<T>(op_.dq, sample_ * s_.queries + b.first + i, b.head * s_.head_dim, s_.head_dim, row_, op_.accumulate);
    }
  }

  AttentionBackward const& op_;
  AttentionShape const& s_;
  std::int64_t sample_, kv_head_;
  KeySums sums_;
  AttentionDropout dropout_{s_.dropout};
  std::int64_t groups_, d_, query_groups_;
  Room room_;
  MatrixUnit unit_;
  Matrix<Element> k_, v_, k_columns_, pairs_{};  // [key][group of head_dim] twice, [head_dim][group of keys]
  Matrix<float> p_, ds_;                         // [key][query]
  float *row_, *keep_ = nullptr;                 // [2 head_dim], [key][query]
  std::int64_t count_ = 0;
  std::array<Queries, blocks_a_task> blocks_;
};

/// Adds up the splits' sums for one key of one head, in order, and writes its dk and dv.
template <class T>
void store_keys(AttentionBackward const& op, float* sums, std::int64_t splits, std::int64_t row) {
  AttentionShape const& s = op.shape;
  std::int64_t const key = row % s.keys, kv_head = row / s.keys % s.kv_heads, sample = row / s.keys / s.kv_heads;
  std::int64_t const d = padded_head_dim(s), split_stride = 2 * s.samples * s.kv_heads * s.keys * d;
  float* const dk = sums + ((sample * s.kv_heads + kv_head) * 2 * s.keys + key) * d;
  float* const dv = dk + s.keys * d;
  for (std::int64_t split = 1; split < splits; ++split)
    for (std::int64_t c = 0; c < d; ++c) {
      dk[c] += dk[split * split_stride + c];
      dv[c] += dv[split * split_stride + c];
    }
  for (std::int64_t c = 0; c < d; ++c) dk[c] *= static_cast<float>(s.scale);
  store_row<T>(op.dk, sample * s.keys + key, kv_head * s.head_dim, s.head_dim, dk, op.accumulate);
  store_row<T>(op.dv, sample * s.keys + key, kv_head * s.head_dim, s.head_dim, dv, op.accumulate);
}

}  // namespace

void launch(Cpu& cpu, AttentionBackward const& op) {
  check(op);
  AttentionShape const& s = op.shape;
  std::int64_t const d = padded_head_dim(s), heads = s.samples * s.kv_heads;
  std::int64_t const group = s.heads / s.kv_heads, blocks = (s.queries + block_queries - 1) / block_queries;
  auto const bytes = static_cast<std::int64_t>(cpu.workspace.size());
  validate(bytes >= backward_split_bytes(s), "Attention's backward pass has ", bytes, " bytes of scratch (it needs ",
           backward_split_bytes(s), "). Raise run.workspace.");
  std::int64_t const splits = backward_splits(s, bytes);
  auto* const sums = reinterpret_cast<float*>(cpu.workspace.data());  // [split][sample, kv head][dk, dv][key][d]
  std::atomic<std::int64_t> pairs{0};
  with_arithmetic(op.q.dtype(), [&]<class T, class Arith>(T*, Arith) {
    parallel_for(splits * heads, 1, [&](std::int64_t task, std::int64_t) {
      std::int64_t const head = task / splits, split = task % splits;
      float* const dk = sums + (split * heads + head) * 2 * s.keys * d;
      std::fill_n(dk, 2 * s.keys * d, 0.0f);
      Backward<T, Arith> backward(op, head / s.kv_heads, head % s.kv_heads, {dk, dk + s.keys * d, d});
      std::int64_t seen_pairs = 0;
      // blocks of queries are dealt to the splits in turn (equal work when causal), heads that share keys side by side
      for (std::int64_t block = split; block < blocks; block += splits)
        for (std::int64_t member = 0; member < group; ++member) {
          backward.add_queries(head % s.kv_heads * group + member, block * block_queries);
          if (backward.full()) seen_pairs += backward.run();
        }
      seen_pairs += backward.run();
      pairs += seen_pairs;
    });
    parallel_for(heads * s.keys, 64, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t row = first; row < last; ++row) store_keys<T>(op, sums, splits, row);
    });
  });
  cpu.flops += 10.0 * static_cast<double>(s.head_dim) * static_cast<double>(pairs.load());
}

}  // namespace selenite
