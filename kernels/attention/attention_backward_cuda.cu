#include "kernels/attention/backward.cuh"
#include "kernels/attention/library.hpp"
#include "kernels/attention/parts_cuda.hpp"
#include "kernels/attention/tensor_core_cuda.hpp"
#include "kernels/attention/tile.cuh"
#include "kernels/attention/warpgroup_cuda.hpp"

namespace selenite {
namespace {

using namespace attention_cuda;

/// What a query's probabilities are made again from; a row that is not there, or sees nothing, has P = 0.
struct QueryState {
  Place place;
  float logsumexp = infinity, delta = 0;  ///< logsumexp in units of log 2
};
__device__ inline QueryState query_state(BackwardArguments<float> const& a, std::int64_t sample, int head, int query,
                                         bool present) {
  QueryState state;
  if (!present) return state;
  std::int64_t const stat = a.in.stat(sample, head, query);
  float const logsumexp = a.logsumexp[stat];
  state.place = a.in.query_places(sample, query);
  state.logsumexp = exponent_base(logsumexp);
  state.delta = a.delta[stat];
  return state;
}

/// Of a lane's part of a row of scores.
template <int keys>
struct RowBits {
  KeyBits<keys> visible = 0, kept = 0;
};
template <class Scores, int capacity>
__device__ RowBits<Scores::lane_keys> row_bits(Inputs<float> const& in, HeadDropout const& dropout, Place query,
                                               bool present, bool all, SharedPlaces<capacity>& places, int first,
                                               int count) {
  constexpr int keys = Scores::lane_keys;
  using Bits = KeyBits<keys>;
  RowBits<keys> bits;
  if (!present) return bits;
  bits.visible = all ? static_cast<Bits>(~Bits{0} >> (sizeof(Bits) * 8 - keys))
                     : visible_bits<keys>(in.causal, query, places, first, count);
  bits.kept = in.dropout.active() ? dropout.template kept_bits<keys>(query, places, first, count) : bits.visible;
  return bits;
}

/// Scores become probabilities.
template <int keys>
__device__ void probabilities(float (&values)[keys], KeyBits<keys> visible, float factor, float logsumexp) {
#pragma unroll
  for (int j = 0; j < keys; ++j) values[j] = visible >> j & 1u ? exp2f(values[j] * factor - logsumexp) : 0.0f;
}
/// dP becomes dS without its scale.
template <int keys>
__device__ void differentiate(float (&values)[keys], float const (&p)[keys], RowBits<keys> const& bits,
                              float keep_scale, float delta) {
#pragma unroll
  for (int j = 0; j < keys; ++j) {
    float const dp = bits.kept >> j & 1u ? values[j] * keep_scale : 0.0f;
    values[j] = bits.visible >> j & 1u ? p[j] * (dp - delta) : 0.0f;
  }
}

/// Sizes of the pass for dq, by blocks of queries.
template <int depth>
struct QuerySizes {
  static constexpr int warps = depth <= 128 ? 4 : 2, threads = warps * warp_size;
  static constexpr int rows = depth <= 64 ? 32 : 16, queries = warps * rows, keys = 32;
  using Queries = RowBlock<float, queries, depth>;
  using Keys = RowBlock<float, keys, depth>;
  using WarpScores = Scores<rows, keys>;
  static constexpr std::size_t shared_bytes =
      2 * Queries::bytes + 2 * Keys::bytes + warps * WarpScores::floats * static_cast<int>(sizeof(float));
};

/// A block of queries of one head: dQ += dS K over the blocks of keys that it sees, dS = P (dO V^T - delta).
template <int depth>
__global__ void __launch_bounds__(QuerySizes<depth>::threads) query_gradient_kernel(BackwardArguments<float> a) {
  using Sizes = QuerySizes<depth>;
  using WarpScores = typename Sizes::WarpScores;
  constexpr int rows = Sizes::rows, ld = Sizes::Keys::ld, mine = WarpScores::lane_keys;
  __shared__ SharedPlaces<Sizes::keys> key_places;
  auto const shared = dynamic_shared<float>();
  constexpr int query_elements = Sizes::queries * ld, key_elements = Sizes::keys * ld,
                score_offset = 2 * query_elements + 2 * key_elements;
  typename Sizes::Queries const q{&shared[0]}, dout{&shared[query_elements]};
  typename Sizes::Keys const k{&shared[2 * query_elements]}, v{&shared[2 * query_elements + key_elements]};
  WarpScores const scores{&shared[score_offset] + warp() * WarpScores::floats};

  Inputs<float> const& in = a.in;
  // the last queries see the most keys: the longest first
  OwnTokens const own =
      own_tokens<Sizes::warps, rows>(in.query_places, in.queries, in.heads, in.query_section, true, warp());
  std::int64_t const q_row = own.sample * in.queries, q_col = static_cast<std::int64_t>(own.head) * in.head_dim,
                     k_row = own.sample * in.keys,
                     k_col = static_cast<std::int64_t>(own.head / (in.heads / in.kv_heads)) * in.head_dim;
  int const row = WarpScores::row(0);
  bool const present = row < own.part_count;
  QueryState const state = query_state(a, own.sample, own.head, own.part_first + row, present);
  HeadDropout const dropout = in.dropout_of(own.sample, own.head);
  auto next = [&](int key) {
    return next_block<Sizes::keys>(in.key_places, own.sample, key, in.keys, [&](PlaceRange const& range) {
      return seen(in.causal, own.range, range) != Seen::nothing;
    });
  };
  auto copy = [&](typename Sizes::Keys const& to, RowsOf<float const> const& from, TokenBlock const& block) {
    to.template copy<Sizes::threads>(from, k_row + block.first, k_col, block.count, in.head_dim, in.packs);
  };

  Sums<rows, depth> dq;
  dq.clear();
  TokenBlock keys = next(0);
  q.template copy<Sizes::threads>(in.q, q_row + own.first, q_col, own.count, in.head_dim, in.packs);
  dout.template copy<Sizes::threads>(a.dout, q_row + own.first, q_col, own.count, in.head_dim, in.packs);
  copy(k, in.k, keys);
  copy(v, in.v, keys);
  key_places.load(in.key_places, own.sample, keys.first, keys.count);
  while (keys.count > 0) {
    wait_for_copies();
    __syncthreads();  // everything is there
    Seen const visible = own.sees(in.causal, keys.range);
    if (visible != Seen::nothing) {
      float p[mine], values[mine];
      Sums<rows, Sizes::keys> products;
      products.clear();
      products.template add<depth, Stored::by_rows, Stored::by_columns>(q.data + warp() * rows * ld, ld, k.data, ld);
      products.template store<Sizes::keys>(0, scores.data, WarpScores::ld);
      __syncwarp();
      scores.read(0, p);
      __syncwarp();
      products.clear();
      products.template add<depth, Stored::by_rows, Stored::by_columns>(dout.data + warp() * rows * ld, ld, v.data, ld);
      products.template store<Sizes::keys>(0, scores.data, WarpScores::ld);
      __syncwarp();
      scores.read(0, values);
      bool const all = visible == Seen::all && keys.count == Sizes::keys;
      RowBits<mine> const bits =
          row_bits<WarpScores>(in, dropout, state.place, present, all, key_places, WarpScores::first_key(), keys.count);
      probabilities(p, bits.visible, in.factor, state.logsumexp);
      differentiate(values, p, bits, static_cast<float>(in.dropout.keep_scale()), state.delta);
      __syncwarp();  // all have read
      scores.write(0, values);
      __syncwarp();
    }
    __syncthreads();  // V and the places are no longer read
    TokenBlock const following = next(keys.first + Sizes::keys);
    copy(v, in.v, following);
    key_places.load(in.key_places, own.sample, following.first, following.count);
    if (visible != Seen::nothing)
      dq.template add<Sizes::keys, Stored::by_rows, Stored::by_rows>(scores.data, WarpScores::ld, k.data, ld);
    __syncthreads();  // nor is K
    copy(k, in.k, following);
    keys = following;
  }
  wait_for_copies();  // of Q and dO, where no key is seen

  for_each_pack<WarpScores::floats>(dq, scores.data, [&](int r, int col, auto pack) {
    for (float& x : pack.at) x *= in.scale;
    if (r < own.part_count) a.dq.write(q_row + own.part_first + r, q_col + col, pack, in.head_dim - col);
  });
}

/// Sizes of the pass for dk and dv, by blocks of keys: each warp has `columns` of the block's keys, whose sums stay in
/// registers, and all of a block's queries in turn.
template <int depth>
struct KeySizes {
  static constexpr int warps = depth <= 128 ? 4 : 2, threads = warps * warp_size;
  static constexpr int columns = depth <= 64 ? 32 : 16, keys = warps * columns;
  static constexpr int queries = depth == 64 && columns == 16 ? 64 : 32;
  using Queries = RowBlock<float, queries, depth>;
  using Keys = RowBlock<float, keys, depth>;
  using WarpScores = Scores<queries, columns>;
  static constexpr std::size_t shared_bytes =
      2 * Queries::bytes + 2 * Keys::bytes + warps * WarpScores::floats * static_cast<int>(sizeof(float));
};

/// A block of keys of one kv head: dV += P^T dO and dK += dS^T Q over the heads of its group, one after the other, and
/// their blocks of queries that see some of it.
template <int depth, Gradients gradients>
__global__ void __launch_bounds__(KeySizes<depth>::threads) key_gradient_kernel(BackwardArguments<float> a) {
  using Sizes = KeySizes<depth>;
  using WarpScores = typename Sizes::WarpScores;
  constexpr bool makes_dk = gradients != Gradients::dv, makes_dv = gradients != Gradients::dk;
  constexpr int columns = Sizes::columns, ld = Sizes::Keys::ld, mine = WarpScores::lane_keys,
                lane_rows = WarpScores::lane_rows;
  __shared__ SharedPlaces<Sizes::keys> key_places;
  auto const shared = dynamic_shared<float>();
  constexpr int query_elements = Sizes::queries * ld, key_elements = Sizes::keys * ld,
                score_offset = 2 * query_elements + 2 * key_elements;
  typename Sizes::Queries const q{&shared[0]}, dout{&shared[query_elements]};
  typename Sizes::Keys const k{&shared[2 * query_elements]}, v{&shared[2 * query_elements + key_elements]};
  WarpScores const scores{&shared[score_offset] + warp() * WarpScores::floats};

  Inputs<float> const& in = a.in;
  // the first keys are seen by the most queries
  OwnTokens const own =
      own_tokens<Sizes::warps, columns>(in.key_places, in.keys, in.kv_heads, in.key_section, false, warp());
  int const group = in.heads / in.kv_heads, warp_row = warp() * columns;
  std::int64_t const k_row = own.sample * in.keys, k_col = static_cast<std::int64_t>(own.head) * in.head_dim,
                     q_row = own.sample * in.queries;
  auto next = [&](int query) {
    return next_block<Sizes::queries>(in.query_places, own.sample, query, in.queries, [&](PlaceRange const& range) {
      return seen(in.causal, range, own.range) != Seen::nothing;
    });
  };
  auto copy = [&](typename Sizes::Queries const& to, RowsOf<float const> const& from, TokenBlock const& block,
                  int head) {
    to.template copy<Sizes::threads>(from, q_row + block.first, static_cast<std::int64_t>(head) * in.head_dim,
                                     block.count, in.head_dim, in.packs);
  };

  Sums<columns, depth> dk, dv;
  if constexpr (makes_dk) dk.clear();
  if constexpr (makes_dv) dv.clear();
  k.template copy<Sizes::threads>(in.k, k_row + own.first, k_col, own.count, in.head_dim, in.packs);
  v.template copy<Sizes::threads>(in.v, k_row + own.first, k_col, own.count, in.head_dim, in.packs);
  key_places.load(in.key_places, own.sample, own.first, own.count);
  int head = own.head * group;
  TokenBlock queries = next(0);
  copy(q, in.q, queries, head);
  copy(dout, a.dout, queries, head);
  while (queries.count > 0) {
    Seen const visible = own.seen_by(in.causal, queries.range);
    QueryState states[lane_rows];
    RowBits<mine> bits[lane_rows];
    float p[lane_rows][mine];
#pragma unroll
    for (int i = 0; i < lane_rows; ++i)
      states[i] = query_state(a, own.sample, head, queries.first + WarpScores::row(i),
                              visible != Seen::nothing && WarpScores::row(i) < queries.count);
    wait_for_copies();
    __syncthreads();  // everything is there
    if (visible != Seen::nothing) {
      Sums<Sizes::queries, columns> products;
      products.clear();
      products.template add<depth, Stored::by_rows, Stored::by_columns>(q.data, ld, k.data + warp_row * ld, ld);
      products.template store<columns>(0, scores.data, WarpScores::ld);
      HeadDropout const dropout = in.dropout_of(own.sample, head);
      __syncwarp();
#pragma unroll
      for (int i = 0; i < lane_rows; ++i) {
        scores.read(i, p[i]);
        bits[i] =
            row_bits<WarpScores>(in, dropout, states[i].place, WarpScores::row(i) < queries.count,
                                 visible == Seen::all && own.part_count == columns, key_places, warp_row, own.count);
        probabilities(p[i], bits[i].visible, in.factor, states[i].logsumexp);
      }
      if constexpr (makes_dv) {
        __syncwarp();  // all have read
#pragma unroll
        for (int i = 0; i < lane_rows; ++i) {
          float kept[mine];
#pragma unroll
          for (int j = 0; j < mine; ++j) kept[j] = bits[i].kept >> j & 1u ? p[i][j] : 0.0f;
          scores.write(i, kept);
        }
        __syncwarp();
        dv.template add<Sizes::queries, Stored::by_columns, Stored::by_rows>(scores.data, WarpScores::ld, dout.data,
                                                                             ld);
      }
      if constexpr (makes_dk) {
        __syncwarp();
        products.clear();
        products.template add<depth, Stored::by_rows, Stored::by_columns>(dout.data, ld, v.data + warp_row * ld, ld);
        products.template store<columns>(0, scores.data, WarpScores::ld);
        __syncwarp();
        float values[lane_rows][mine];
#pragma unroll
        for (int i = 0; i < lane_rows; ++i) {
          scores.read(i, values[i]);
          differentiate(values[i], p[i], bits[i], static_cast<float>(in.dropout.keep_scale()), states[i].delta);
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < lane_rows; ++i) scores.write(i, values[i]);
        __syncwarp();
      }
    }
    __syncthreads();  // dO is no longer read
    TokenBlock following = next(queries.first + Sizes::queries);
    int following_head = head;
    if (following.count == 0 && head + 1 < (own.head + 1) * group) following = next(0), following_head = head + 1;
    copy(dout, a.dout, following, following_head);
    if constexpr (makes_dk) {
      if (visible != Seen::nothing)
        dk.template add<Sizes::queries, Stored::by_columns, Stored::by_rows>(scores.data, WarpScores::ld, q.data, ld);
    }
    __syncthreads();  // nor is Q
    copy(q, in.q, following, following_head);
    queries = following, head = following_head;
  }
  wait_for_copies();  // of K and V, where no query sees them

  auto write = [&](Sums<columns, depth> const& sums, Output<float> const& to, float scale) {
    for_each_pack<WarpScores::floats>(sums, scores.data, [&](int r, int col, auto pack) {
      for (float& x : pack.at) x *= scale;
      if (r < own.part_count) to.write(k_row + own.part_first + r, k_col + col, pack, in.head_dim - col);
    });
  };
  if constexpr (makes_dk) write(dk, a.dk, in.scale);
  if constexpr (makes_dv) write(dv, a.dv, static_cast<float>(in.dropout.keep_scale()));
}

template <int depth>
void launch_backward(Cuda const& cuda, AttentionBackward const& op) {
  using ByQueries = QuerySizes<depth>;
  using ByKeys = KeySizes<depth>;
  AttentionShape const& s = op.shape;
  BackwardArguments<float> const a = backward_arguments<float>(cuda, op);
  std::int64_t const query_blocks = divide_up(s.queries, ByQueries::queries) * s.samples * s.heads,
                     key_blocks = divide_up(s.keys, ByKeys::keys) * s.samples * s.kv_heads;
  launch_kernel(cuda, {grid_size(query_blocks), ByQueries::threads, ByQueries::shared_bytes},
                query_gradient_kernel<depth>, a);
  Launch const by_keys{grid_size(key_blocks), ByKeys::threads, ByKeys::shared_bytes};
  if constexpr (depth <= 128) {
    launch_kernel(cuda, by_keys, key_gradient_kernel<depth, Gradients::both>, a);
  } else {
    launch_kernel(cuda, by_keys, key_gradient_kernel<depth, Gradients::dk>, a);
    launch_kernel(cuda, by_keys, key_gradient_kernel<depth, Gradients::dv>, a);
  }
}

}  // namespace

/// dq by blocks of queries and dk, dv by blocks of keys, in launches of their own that make the scores again: no sum is
/// added to by two blocks, so that its order is always the same, and the workspace is not used.
void launch(Cuda& cuda, AttentionBackward const& op) {
  check(op);
  if (launch_library(cuda, op)) return;
  if (op.out.defined()) make_delta(cuda, op);
  if (op.q.dtype() == DType::fp32)
    visit_depth(op.shape.head_dim, [&](auto depth) { launch_backward<depth>(cuda, op); });
  else if (!launch_on_warpgroups(cuda, op))
    launch_on_tensor_cores(cuda, op);
  cuda.flops += counted_flops(op.shape, 10);
}

}  // namespace selenite
