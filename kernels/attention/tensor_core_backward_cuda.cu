#include "kernels/attention/backward.cuh"
#include "kernels/attention/scores.cuh"
#include "kernels/attention/tensor_core_cuda.hpp"

namespace selenite {
namespace {

using namespace attention_cuda;

// --- dq, by blocks of queries

template <class T, int depth>
struct QuerySizes {
  static constexpr int warps = 4, threads = warps * warp_size, rows = depth <= 128 ? 32 : 16, queries = warps * rows,
                       keys = 32;
  using Queries = RowBlock<T, queries, depth>;
  using Keys = RowBlock<T, keys, depth>;
  static constexpr int ld = Keys::ld;
  static constexpr std::size_t shared_bytes = 2 * Queries::bytes + 4 * Keys::bytes;
};

/// A block of queries of one head: dQ += dS K over the blocks of keys that it sees, dS = P (dO V^T - delta).
template <class T, int depth, bool dropping>
__global__ void __launch_bounds__(QuerySizes<T, depth>::threads, 2) query_gradient_kernel(BackwardArguments<T> a) {
  using S = QuerySizes<T, depth>;
  using Tile = WarpTile<S::rows, S::keys>;
  constexpr int ld = S::ld;
  __shared__ SharedPlaces<S::keys> places[2];
  auto const shared = dynamic_shared<T>();
  typename S::Queries const q{&shared[0]}, dout{&shared[S::queries * ld]};
  auto key_block = [&](int i) { return typename S::Keys{&shared[(2 * S::queries + i * S::keys) * ld]}; };

  Inputs<T> const& in = a.in;
  // the last queries see the most keys: the longest first
  OwnTokens const own =
      own_tokens<S::warps, S::rows>(in.query_places, in.queries, in.heads, in.query_section, true, warp());
  std::int64_t const q_row = own.sample * in.queries, q_col = static_cast<std::int64_t>(own.head) * in.head_dim,
                     k_row = own.sample * in.keys,
                     k_col = static_cast<std::int64_t>(own.head / (in.heads / in.kv_heads)) * in.head_dim;
  int const warp_row = warp() * S::rows;
  auto row = [&](int i) { return own.part_first + Tile::row(i); };
  auto next = [&](int key) {
    return next_block<S::keys>(in.key_places, own.sample, key, in.keys, [&](PlaceRange const& range) {
      return seen(in.causal, own.range, range) != Seen::nothing;
    });
  };
  auto copy = [&](int stage, TokenBlock const& block) {
    key_block(stage).template copy<S::threads>(in.k, k_row + block.first, k_col, block.count, in.head_dim, in.packs);
    key_block(2 + stage).template copy<S::threads>(in.v, k_row + block.first, k_col, block.count, in.head_dim,
                                                   in.packs);
    places[stage].load(in.key_places, own.sample, block.first, block.count);
  };

  float bases[Tile::lane_rows], deltas[Tile::lane_rows];
#pragma unroll
  for (int i = 0; i < Tile::lane_rows; ++i) {
    std::int64_t const stat = in.stat(own.sample, own.head, row(i) < in.queries ? row(i) : in.queries - 1);
    bases[i] = exponent_base(a.logsumexp[stat]), deltas[i] = a.delta[stat];
  }
  WarpTile<S::rows, depth> dq;
  dq.clear();
  TokenBlock keys = next(0);
  q.template copy<S::threads>(in.q, q_row + own.first, q_col, own.count, in.head_dim, in.packs);
  dout.template copy<S::threads>(a.dout, q_row + own.first, q_col, own.count, in.head_dim, in.packs);
  copy(0, keys);
  for (int stage = 0; keys.count > 0; stage ^= 1) {
    wait_for_copies();
    __syncthreads();  // this block is there; the one before is no longer read
    TokenBlock const following = next(keys.first + S::keys);
    copy(stage ^ 1, following);
    Seen const visible = own.sees(in.causal, keys.range);
    if (visible != Seen::nothing) {
      T const* const k = key_block(stage).data;
      Tile p, ds;
      p.clear();
      add_product<depth, ld>(p, q.data + warp_row * ld, k);
      ds.clear();
      add_product<depth, ld>(ds, dout.data + warp_row * ld, key_block(2 + stage).data);
      SharedPlaces<S::keys>& key_places = places[stage];
      probabilities(p, in.factor, [&](int i, int, int) { return bases[i]; });
      if (visible == Seen::some || keys.count < S::keys) hide_keys(p, 0, in, own.sample, row, key_places, keys);
      DroppedBits dropped = 0;
      if constexpr (dropping)
        dropped = draw_by_queries<Tile>(
            in.dropout_of(own.sample, own.head), in.key_places.positions.data,
            [&](int i) { return in.query_at(own.sample, row(i)).position; }, key_places, keys.count);
      differentiate<dropping>(ds, p, dropped, static_cast<float>(in.dropout.keep_scale()),
                              [&](int i, int, int) { return deltas[i]; });
      add_product<ld>(dq, rounded<T>(ds), k);
    }
    keys = following;
  }
  wait_for_copies();  // of Q and dO, where no key is seen
  __syncthreads();
  write_tile(dq, q.data + warp_row * ld, a.dq, q_row + own.part_first, q_col, own.part_count, in.head_dim, [&](int) {
    return RowFactors{in.scale, 1};
  });
}

// --- dk and dv, by blocks of keys

/// Each warp has `columns` of a block's keys, whose sums stay in registers, and all of a block's queries in turn.
template <class T, int depth>
struct KeySizes {
  static constexpr int warps = 4, threads = warps * warp_size, columns = depth <= 64 ? 32 : 16, keys = warps * columns,
                       queries = columns == 16 && depth <= 128 ? 64 : 32;
  using Queries = RowBlock<T, queries, depth>;
  using Keys = RowBlock<T, keys, depth>;
  static constexpr int ld = Keys::ld;
  static constexpr std::size_t shared_bytes = 2 * Keys::bytes + 4 * Queries::bytes;
};

/// A block of keys of one kv head: dV += P^T dO and dK += dS^T Q over the heads of its group, one after the other, and
/// their blocks of queries that see some of it. Tiles are [key][query].
template <class T, int depth, bool dropping, Gradients gradients>
__global__ void __launch_bounds__(KeySizes<T, depth>::threads, depth <= 128 ? 2 : 1)
    key_gradient_kernel(BackwardArguments<T> a) {
  using S = KeySizes<T, depth>;
  using Tile = WarpTile<S::columns, S::queries>;
  constexpr bool makes_dk = gradients != Gradients::dv, makes_dv = gradients != Gradients::dk;
  constexpr int ld = S::ld;
  __shared__ SharedPlaces<S::keys> key_places;
  __shared__ SharedPlaces<S::queries> places[2];
  __shared__ SharedArray<float, S::queries> logsumexps[2], deltas[2];
  auto const shared = dynamic_shared<T>();
  typename S::Keys const k{&shared[0]}, v{&shared[S::keys * ld]};
  auto query_block = [&](int i) { return typename S::Queries{&shared[(2 * S::keys + i * S::queries) * ld]}; };

  Inputs<T> const& in = a.in;
  // the first keys are seen by the most queries
  OwnTokens const own =
      own_tokens<S::warps, S::columns>(in.key_places, in.keys, in.kv_heads, in.key_section, false, warp());
  int const group = in.heads / in.kv_heads, warp_row = warp() * S::columns;
  std::int64_t const k_row = own.sample * in.keys, k_col = static_cast<std::int64_t>(own.head) * in.head_dim,
                     q_row = own.sample * in.queries;
  auto next = [&](int query) {
    return next_block<S::queries>(in.query_places, own.sample, query, in.queries, [&](PlaceRange const& range) {
      return seen(in.causal, range, own.range) != Seen::nothing;
    });
  };
  auto copy = [&](int stage, TokenBlock const& block, int head) {
    std::int64_t const col = static_cast<std::int64_t>(head) * in.head_dim;
    query_block(stage).template copy<S::threads>(in.q, q_row + block.first, col, block.count, in.head_dim, in.packs);
    query_block(2 + stage).template copy<S::threads>(a.dout, q_row + block.first, col, block.count, in.head_dim,
                                                     in.packs);
    places[stage].load(in.query_places, own.sample, block.first, block.count);
    int const i = static_cast<int>(threadIdx.x);
    if (i >= S::queries) return;
    std::int64_t const stat = in.stat(own.sample, head, block.first + i);
    // of a query that is not there 0, as its q and dout are: it adds 2^0 times nothing
    copy_async(&logsumexps[stage][i], a.logsumexp + stat, i < block.count);
    copy_async(&deltas[stage][i], a.delta + stat, i < block.count);
  };

  WarpTile<S::columns, depth> dk, dv;
  if constexpr (makes_dk) dk.clear();
  if constexpr (makes_dv) dv.clear();
  k.template copy<S::threads>(in.k, k_row + own.first, k_col, own.count, in.head_dim, in.packs);
  v.template copy<S::threads>(in.v, k_row + own.first, k_col, own.count, in.head_dim, in.packs);
  key_places.load(in.key_places, own.sample, own.first, own.count);
  int head = own.head * group;
  TokenBlock queries = next(0);
  copy(0, queries, head);
  for (int stage = 0; queries.count > 0; stage ^= 1) {
    wait_for_copies();
    __syncthreads();  // this block is there; the one before is no longer read
    TokenBlock following = next(queries.first + S::queries);
    int following_head = head;
    if (following.count == 0 && head + 1 < (own.head + 1) * group) following = next(0), following_head = head + 1;
    copy(stage ^ 1, following, following_head);
    Seen const visible = own.seen_by(in.causal, queries.range);
    if (visible != Seen::nothing) {
      T const *const q = query_block(stage).data, *const dout = query_block(2 + stage).data;
      SharedPlaces<S::queries>& query_places = places[stage];
      Tile p;
      p.clear();
      add_product<depth, ld>(p, k.data + warp_row * ld, q);
      probabilities(p, in.factor, [&](int, int j, int e) { return exponent_base(logsumexps[stage][Tile::col(j, e)]); });
      if (visible == Seen::some)  // beyond the ends P adds nothing
        hide_queries(
            p, 0, in, [&](int i) { return warp_row + Tile::row(i); }, own.first, key_places, query_places, queries);
      DroppedBits dropped = 0;
      if constexpr (dropping)
        dropped = draw_by_keys<Tile>(in.dropout_of(own.sample, head), in.key_places.positions.data, key_places,
                                     warp_row, own.count, query_places);
      if constexpr (makes_dv) {
        Tile kept = p;
        if constexpr (dropping) drop(kept, dropped);
        add_product<ld>(dv, rounded<T>(kept), dout);
      }
      if constexpr (makes_dk) {
        Tile ds;
        ds.clear();
        add_product<depth, ld>(ds, v.data + warp_row * ld, dout);
        differentiate<dropping>(ds, p, dropped, static_cast<float>(in.dropout.keep_scale()),
                                [&](int, int j, int e) { return deltas[stage][Tile::col(j, e)]; });
        add_product<ld>(dk, rounded<T>(ds), q);
      }
    }
    queries = following, head = following_head;
  }
  wait_for_copies();  // of K and V, where no query sees them
  __syncthreads();

  auto write = [&](WarpTile<S::columns, depth>& sums, Output<T> const& to, float scale) {
    write_tile(sums, k.data + warp_row * ld, to, k_row + own.part_first, k_col, own.part_count, in.head_dim, [&](int) {
      return RowFactors{scale, 1};
    });
  };
  if constexpr (makes_dk) write(dk, a.dk, in.scale);
  if constexpr (makes_dv) write(dv, a.dv, static_cast<float>(in.dropout.keep_scale()));
}

template <class T, int depth, bool dropping>
void launch_backward(Cuda const& cuda, AttentionBackward const& op) {
  using ByQueries = QuerySizes<T, depth>;
  using ByKeys = KeySizes<T, depth>;
  AttentionShape const& s = op.shape;
  BackwardArguments<T> const a = backward_arguments<T>(cuda, op);
  std::int64_t const query_blocks = divide_up(s.queries, ByQueries::queries) * s.samples * s.heads,
                     key_blocks = divide_up(s.keys, ByKeys::keys) * s.samples * s.kv_heads;
  launch_kernel(cuda, {grid_size(query_blocks), ByQueries::threads, ByQueries::shared_bytes},
                query_gradient_kernel<T, depth, dropping>, a);
  Launch const by_keys{grid_size(key_blocks), ByKeys::threads, ByKeys::shared_bytes};
  if constexpr (depth <= 128) {
    launch_kernel(cuda, by_keys, key_gradient_kernel<T, depth, dropping, Gradients::both>, a);
  } else {
    launch_kernel(cuda, by_keys, key_gradient_kernel<T, depth, dropping, Gradients::dk>, a);
    launch_kernel(cuda, by_keys, key_gradient_kernel<T, depth, dropping, Gradients::dv>, a);
  }
}

}  // namespace

void launch_on_tensor_cores(Cuda const& cuda, AttentionBackward const& op) {
  visit_tensor_core_type(op.q.dtype(), [&]<class T>(T) {
    visit_tensor_core_depth(op.shape.head_dim, [&](auto depth) {
      op.shape.dropout.probability > 0 ? launch_backward<T, depth, true>(cuda, op)
                                       : launch_backward<T, depth, false>(cuda, op);
    });
  });
}

}  // namespace selenite
