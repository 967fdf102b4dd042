#include "kernels/attention/backward.cuh"
#include "kernels/attention/scores.cuh"
#include "kernels/attention/warpgroup_cuda.hpp"
#include "kernels/attention/warpgroup_tile.cuh"

namespace selenite {
namespace {

using namespace attention_cuda;

/// A block of threads makes the gradients of 64 queries, or of 64 keys, a warpgroup.
constexpr int groups = 2, block_threads = groups * warpgroup_warps * warp_size, block_rows = groups * warpgroup_rows;
/// Shared memory: two operands that stay, and five blocks of `step_rows` of the other side.
template <class T, int depth, int step_rows_>
struct Blocks {
  static constexpr int step_rows = step_rows_;
  using Own = SwizzledBlock<T, block_rows, depth>;
  using Step = SwizzledBlock<T, step_rows, depth>;
  static constexpr std::size_t shared_bytes = swizzled_alignment + 2 * Own::bytes + 5 * Step::bytes;
  // what is written passes through the operands that stay, which lie first
  static_assert(RowBlock<T, block_rows, depth>::bytes <= 2 * Own::bytes);
  static __device__ Own own(T* shared, int i) { return {shared + i * Own::bytes / static_cast<int>(sizeof(T))}; }
  static __device__ Step step(T* shared, int i) {
    return {shared + (2 * Own::bytes + i * Step::bytes) / static_cast<int>(sizeof(T))};
  }
};
/// By queries: more keys at a time share what a step costs besides, where registers hold their scores.
template <class T, int depth, bool dropping>
struct QuerySizes : Blocks<T, depth, (dropping || depth > 80) ? 64 : 128> {
  static constexpr bool left_in_registers = QuerySizes::step_rows == 64 && depth <= 80;
};
/// By keys.
template <class T, int depth>
struct KeySizes : Blocks<T, depth, 64> {
  static constexpr bool left_in_registers = depth <= 80;
};
/// Where a warp's results pass through.
template <class T, int depth>
__device__ T* stage(T* shared) {
  return shared + warp() * 16 * RowBlock<T, 16, depth>::ld;
}

/// A block of queries of one head: dQ += dS K over the blocks of keys that it sees, dS = P (dO V^T - delta). dQ takes a
/// block in while the next one's scores are made.
template <class T, int depth, bool dropping>
__global__ void __launch_bounds__(block_threads, 1) warpgroup_query_gradient_kernel(BackwardArguments<T> a) {
  using S = QuerySizes<T, depth, dropping>;
  constexpr int step_rows = S::step_rows;
  using Tile = WarpTile<16, step_rows>;
  __shared__ SharedPlaces<step_rows> places[2];
  T* const shared = swizzled_shared<T>();
  auto const q_block = S::own(shared, 0), dout_block = S::own(shared, 1);

  Inputs<T> const& in = a.in;
  // the last queries see the most keys: the longest first
  OwnTokens const own =
      own_tokens<groups, warpgroup_rows>(in.query_places, in.queries, in.heads, in.query_section, true, warpgroup());
  std::int64_t const q_row = own.sample * in.queries, q_col = static_cast<std::int64_t>(own.head) * in.head_dim,
                     k_row = own.sample * in.keys,
                     k_col = static_cast<std::int64_t>(own.head / (in.heads / in.kv_heads)) * in.head_dim;
  int const group_row = uniform(warpgroup()) * warpgroup_rows, first_row = own.part_first + warp_row();
  auto row = [&](int i) { return first_row + Tile::row(i); };
  auto next = [&](int key) {
    return uniform(next_block<step_rows>(in.key_places, own.sample, key, in.keys, [&](PlaceRange const& range) {
      return seen(in.causal, own.range, range) != Seen::nothing;
    }));
  };
  auto k_block = [&](int n) { return S::step(shared, n % 3); };  // the one before is still read
  auto v_block = [&](int n) { return S::step(shared, 3 + n % 2); };
  auto copy = [&](int n, TokenBlock const& block) {
    if (block.count > 0) {
      k_block(n).template copy<block_threads>(in.k, k_row + block.first, k_col, block.count, in.head_dim, in.packs);
      v_block(n).template copy<block_threads>(in.v, k_row + block.first, k_col, block.count, in.head_dim, in.packs);
    }
    places[n % 2].load(in.key_places, own.sample, block.first, block.count);
  };

  float bases[Tile::lane_rows], deltas[Tile::lane_rows];
#pragma unroll
  for (int i = 0; i < Tile::lane_rows; ++i) {
    std::int64_t const stat = in.stat(own.sample, own.head, row(i) < in.queries ? row(i) : in.queries - 1);
    bases[i] = exponent_base(a.logsumexp[stat]), deltas[i] = a.delta[stat];
  }
  WarpTile<16, depth> dq;
  dq.clear();
  Operand<16, depth> q;
  Operand<16, step_rows> ds;  // of block `last`
  bool held = false;          // there is such a dS
  int last = 0;
  auto take_in = [&](int n) {
    begin_products();
    start_sum(dq, ds, k_block(n));
    end_products();
    finish_products<0>(dq);
  };
  TokenBlock keys = next(0);
  q_block.template copy<block_threads>(in.q, q_row + own.first, q_col, own.count, in.head_dim, in.packs);
  dout_block.template copy<block_threads>(a.dout, q_row + own.first, q_col, own.count, in.head_dim, in.packs);
  copy(0, keys);
  for (int n = 0; keys.count > 0; ++n) {
    wait_for_copies();
    show_to_products();
    __syncthreads();  // this block is there; of the one before, only K is still read
    if (S::left_in_registers && n == 0) q = load_operand(q_block, group_row);
    TokenBlock const following = next(keys.first + step_rows);
    copy(n + 1, following);
    Seen const visible = uniform(own.sees(in.causal, keys.range));
    if (visible == Seen::nothing) {
      if (held) take_in(n - 1);
      held = false;
      keys = following;
      continue;
    }
    auto step = [&](auto adds) {
      SharedPlaces<step_rows>& key_places = places[n % 2];
      [[maybe_unused]] DroppedBits dropped = 0;
      if constexpr (dropping)
        dropped = draw_by_queries<Tile>(
            in.dropout_of(own.sample, own.head), in.key_places.positions.data,
            [&](int i) { return in.query_at(own.sample, row(i)).position; }, key_places, keys.count);
      Tile p, dp;
      begin_products();
      start_either<S::left_in_registers>(p, q, q_block, group_row, k_block(n));
      end_products();
      if constexpr (adds) start_sum(dq, ds, k_block(n - 1));
      start_product(dp, dout_block, group_row, v_block(n));
      end_products();
      finish_products<1>(p);
      probabilities(p, in.factor, [&](int i, int, int) { return bases[i]; });
      if (visible == Seen::some || keys.count < step_rows) hide_keys(p, 0, in, own.sample, row, key_places, keys);
      if constexpr (adds)
        finish_products<0>(dp, dq), hold(ds);
      else
        finish_products<0>(dp);
      differentiate<dropping>(dp, p, dropped, static_cast<float>(in.dropout.keep_scale()),
                              [&](int i, int, int) { return deltas[i]; });
      ds = rounded<T>(dp);
    };
    held ? step(std::true_type{}) : step(std::false_type{});
    held = true, last = n;
    keys = following;
  }
  if (held) take_in(last);
  wait_for_copies();  // of Q and dO, where no key is seen
  __syncthreads();
  write_tile(dq, stage<T, depth>(shared), a.dq, q_row + first_row, q_col, own.part_count - warp_row(), in.head_dim,
             [&](int) {
               return RowFactors{in.scale, 1};
             });
}

/// A block of keys of one kv head: dV += P^T dO and dK += dS^T Q over the heads of its group, one after the other, and
/// their blocks of queries that see some of it. Tiles are [key][query].
template <class T, int depth, bool dropping>
__global__ void __launch_bounds__(block_threads, 1) warpgroup_key_gradient_kernel(BackwardArguments<T> a) {
  using S = KeySizes<T, depth>;
  constexpr int step_rows = S::step_rows;
  using Tile = WarpTile<16, step_rows>;
  __shared__ SharedPlaces<block_rows> key_places;
  __shared__ SharedPlaces<step_rows> places[2];
  // of the bases logsumexp is copied, and the same thread makes them of it
  __shared__ SharedArray<float, step_rows> bases[2], deltas[2];
  T* const shared = swizzled_shared<T>();
  auto const k_block = S::own(shared, 0), v_block = S::own(shared, 1);

  Inputs<T> const& in = a.in;
  // the first keys are seen by the most queries
  OwnTokens const own =
      own_tokens<groups, warpgroup_rows>(in.key_places, in.keys, in.kv_heads, in.key_section, false, warpgroup());
  int const group = in.heads / in.kv_heads, group_row = uniform(warpgroup()) * warpgroup_rows,
            own_row = group_row + warp_row();
  std::int64_t const k_row = own.sample * in.keys, k_col = static_cast<std::int64_t>(own.head) * in.head_dim,
                     q_row = own.sample * in.queries;
  auto next = [&](int query) {
    return uniform(next_block<step_rows>(in.query_places, own.sample, query, in.queries, [&](PlaceRange const& range) {
      return seen(in.causal, range, own.range) != Seen::nothing;
    }));
  };
  auto q_block = [&](int n) { return S::step(shared, n % 3); };  // the one before is still read
  auto dout_block = [&](int n) { return S::step(shared, 3 + n % 2); };
  auto copy = [&](int n, TokenBlock const& block, int head) {
    if (block.count == 0) return;
    std::int64_t const col = static_cast<std::int64_t>(head) * in.head_dim;
    q_block(n).template copy<block_threads>(in.q, q_row + block.first, col, block.count, in.head_dim, in.packs);
    dout_block(n).template copy<block_threads>(a.dout, q_row + block.first, col, block.count, in.head_dim, in.packs);
    places[n % 2].load(in.query_places, own.sample, block.first, block.count);
    int const i = static_cast<int>(threadIdx.x);
    if (i >= step_rows) return;
    std::int64_t const stat = in.stat(own.sample, head, block.first + i);
    // of a query that is not there 0, as its q and dout are: it adds 2^0 times nothing
    copy_async(&bases[n % 2][i], a.logsumexp + stat, i < block.count);
    copy_async(&deltas[n % 2][i], a.delta + stat, i < block.count);
  };

  WarpTile<16, depth> dk, dv;
  dk.clear(), dv.clear();
  Operand<16, depth> k;
  Operand<16, step_rows> ds;  // of block `last`
  bool held = false;          // there is such a dS
  int last = 0;
  auto take_in = [&](int n) {
    begin_products();
    start_sum(dk, ds, q_block(n));
    end_products();
    finish_products<0>(dk);
  };
  k_block.template copy<block_threads>(in.k, k_row + own.first, k_col, own.count, in.head_dim, in.packs);
  v_block.template copy<block_threads>(in.v, k_row + own.first, k_col, own.count, in.head_dim, in.packs);
  key_places.load(in.key_places, own.sample, own.first, own.count);
  int head = own.head * group;
  TokenBlock queries = next(0);
  copy(0, queries, head);
  for (int n = 0; queries.count > 0; ++n) {
    wait_for_copies();
    if (int const i = static_cast<int>(threadIdx.x); i < step_rows) bases[n % 2][i] = exponent_base(bases[n % 2][i]);
    show_to_products();
    __syncthreads();  // this block is there; of the one before, only Q is still read
    if (S::left_in_registers && n == 0) k = load_operand(k_block, group_row);
    TokenBlock following = next(queries.first + step_rows);
    int following_head = head;
    if (following.count == 0 && head + 1 < (own.head + 1) * group) following = next(0), following_head = head + 1;
    copy(n + 1, following, following_head);
    Seen const visible = uniform(own.seen_by(in.causal, queries.range));
    if (visible == Seen::nothing) {
      if (held) take_in(n - 1);
      held = false;
      queries = following, head = following_head;
      continue;
    }
    auto step = [&](auto adds) {
      SharedPlaces<step_rows>& query_places = places[n % 2];
      [[maybe_unused]] DroppedBits dropped = 0;
      if constexpr (dropping)
        dropped = draw_by_keys<Tile>(in.dropout_of(own.sample, head), in.key_places.positions.data, key_places, own_row,
                                     own.count, query_places);
      Tile p, dp;
      begin_products();
      start_either<S::left_in_registers>(p, k, k_block, group_row, q_block(n));
      end_products();
      if constexpr (adds) start_sum(dk, ds, q_block(n - 1));
      start_product(dp, v_block, group_row, dout_block(n));
      end_products();
      finish_products<1>(p);
      probabilities(p, in.factor, [&](int, int j, int e) { return bases[n % 2][Tile::col(j, e)]; });
      if (visible == Seen::some)  // beyond the ends P adds nothing
        hide_queries(
            p, 0, in, [&](int i) { return own_row + Tile::row(i); }, own.first, key_places, query_places, queries);
      Tile kept = p;
      if constexpr (dropping) drop(kept, dropped);
      Operand<16, step_rows> const right = rounded<T>(kept);
      if constexpr (adds)
        finish_products<0>(dp, dk), hold(ds);
      else
        finish_products<0>(dp);
      begin_products();
      start_sum(dv, right, dout_block(n));
      end_products();
      differentiate<dropping>(dp, p, dropped, static_cast<float>(in.dropout.keep_scale()),
                              [&](int, int j, int e) { return deltas[n % 2][Tile::col(j, e)]; });
      finish_products<0>(dv);
      ds = rounded<T>(dp);
    };
    held ? step(std::true_type{}) : step(std::false_type{});
    held = true, last = n;
    queries = following, head = following_head;
  }
  if (held) take_in(last);
  wait_for_copies();  // of K and V, where no query sees them
  __syncthreads();

  auto write = [&](WarpTile<16, depth>& sums, Output<T> const& to, float scale) {
    write_tile(sums, stage<T, depth>(shared), to, k_row + own.part_first + warp_row(), k_col,
               own.part_count - warp_row(), in.head_dim, [&](int) {
                 return RowFactors{scale, 1};
               });
  };
  write(dk, a.dk, in.scale);
  write(dv, a.dv, static_cast<float>(in.dropout.keep_scale()));
}

template <class T, int depth, bool dropping>
void launch_backward(Cuda const& cuda, AttentionBackward const& op) {
  using ByQueries = QuerySizes<T, depth, dropping>;
  using ByKeys = KeySizes<T, depth>;
  AttentionShape const& s = op.shape;
  BackwardArguments<T> const a = backward_arguments<T>(cuda, op);
  std::int64_t const query_blocks = divide_up(s.queries, block_rows) * s.samples * s.heads,
                     key_blocks = divide_up(s.keys, block_rows) * s.samples * s.kv_heads;
  launch_kernel(cuda, {grid_size(query_blocks), block_threads, ByQueries::shared_bytes},
                warpgroup_query_gradient_kernel<T, depth, dropping>, a);
  launch_kernel(cuda, {grid_size(key_blocks), block_threads, ByKeys::shared_bytes},
                warpgroup_key_gradient_kernel<T, depth, dropping>, a);
}

}  // namespace

bool launch_on_warpgroups(Cuda const& cuda, AttentionBackward const& op) {
  if (!takes_warpgroups(cuda, op.shape)) return false;
  visit_warpgroup_kernel(op.q.dtype(), op.shape,
                         [&]<class T>(T, auto depth, auto dropping) { launch_backward<T, depth, dropping>(cuda, op); });
  return true;
}

}  // namespace selenite
