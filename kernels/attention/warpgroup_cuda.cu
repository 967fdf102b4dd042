#include "kernels/attention/scores.cuh"
#include "kernels/attention/warpgroup_cuda.hpp"
#include "kernels/attention/warpgroup_tile.cuh"

namespace selenite {
namespace {

using namespace attention_cuda;

/// A block of threads has 64 queries a warpgroup. As many groups as registers allow share what is copied of K and V,
/// and as many keys at a time what a step costs besides.
template <class T, int depth, bool dropping>
struct Sizes {
  static constexpr int groups = depth <= 96 ? 3 : 2, threads = groups * warpgroup_warps * warp_size,
                       queries = groups * warpgroup_rows, keys = dropping || depth == 96 ? 64 : 128;
  /// O, scores, P and Q of a lane, where there are 168 or 255 registers
  static constexpr bool q_in_registers = depth / 2 + keys / 2 + keys / 4 + depth / 4 <= (groups == 3 ? 128 : 208);
  using Queries = SwizzledBlock<T, queries, depth>;
  using Keys = SwizzledBlock<T, keys, depth>;
  static constexpr int written = RowBlock<T, queries, depth>::bytes;  ///< where results pass through: over Q
  static constexpr int query_bytes = written > Queries::bytes ? written : Queries::bytes;
  static_assert(query_bytes % swizzled_alignment == 0);
  static constexpr std::size_t shared_bytes = swizzled_alignment + query_bytes + 4 * Keys::bytes;
};

/// A block of queries of one head: O += P V over the blocks of keys that it sees, P = 2^(factor Q K^T - top). Scores of
/// a block are multiplied and become P while O takes in the block before.
template <class T, int depth, bool dropping>
__global__ void __launch_bounds__(Sizes<T, depth, dropping>::threads, 1)
    warpgroup_forward_kernel(ForwardArguments<T> a) {
  using S = Sizes<T, depth, dropping>;
  using Tile = WarpTile<16, S::keys>;
  __shared__ SharedPlaces<S::keys> places[2];
  T* const shared = swizzled_shared<T>();
  typename S::Queries const q_block{shared};
  auto key_block = [&](int i) {
    return typename S::Keys{shared + (S::query_bytes + i * S::Keys::bytes) / static_cast<int>(sizeof(T))};
  };

  Inputs<T> const& in = a.in;
  // the last queries see the most keys: the longest first
  OwnTokens const own =
      own_tokens<S::groups, warpgroup_rows>(in.query_places, in.queries, in.heads, in.query_section, true, warpgroup());
  std::int64_t const q_row = own.sample * in.queries, q_col = static_cast<std::int64_t>(own.head) * in.head_dim,
                     k_row = own.sample * in.keys,
                     k_col = static_cast<std::int64_t>(own.head / (in.heads / in.kv_heads)) * in.head_dim;
  int const group_row = uniform(warpgroup()) * warpgroup_rows, first_row = own.part_first + warp_row();
  auto row = [&](int i) { return first_row + Tile::row(i); };
  auto next = [&](int key) {
    return uniform(next_block<S::keys>(in.key_places, own.sample, key, in.keys, [&](PlaceRange const& range) {
      return seen(in.causal, own.range, range) != Seen::nothing;
    }));
  };
  auto copy = [&](typename S::Keys const& to, RowsOf<T const> const& from, TokenBlock const& block) {
    to.template copy<S::threads>(from, k_row + block.first, k_col, block.count, in.head_dim, in.packs);
  };

  WarpTile<16, depth> out;
  out.clear();
  RowState states[Tile::lane_rows];
  Operand<16, depth> q;
  Operand<16, S::keys> p;  // of the block before
  bool held = false;       // there is such a P
  TokenBlock keys = next(0);
  q_block.template copy<S::threads>(in.q, q_row + own.first, q_col, own.count, in.head_dim, in.packs);
  copy(key_block(0), in.k, keys);
  places[0].load(in.key_places, own.sample, keys.first, keys.count);
  for (int n = 0;; ++n) {
    wait_for_copies();
    show_to_products();
    __syncthreads();  // K and its places, and V of the block before, are there; those before them are no longer read
    if (S::q_in_registers && n == 0) q = load_operand(q_block, group_row);
    auto const k = key_block(n % 2), v_before = key_block(2 + (n + 1) % 2);
    SharedPlaces<S::keys>& key_places = places[n % 2];
    TokenBlock const following = keys.count > 0 ? next(keys.first + S::keys) : keys;
    if (keys.count > 0) copy(key_block(2 + n % 2), in.v, keys);
    if (following.count > 0) copy(key_block((n + 1) % 2), in.k, following);
    places[(n + 1) % 2].load(in.key_places, own.sample, following.first, following.count);
    Seen const visible = uniform(keys.count > 0 ? own.sees(in.causal, keys.range) : Seen::nothing);
    if (visible == Seen::nothing) {
      if (held) {
        begin_products();
        start_sum(out, p, v_before);
        end_products();
        finish_products<0>(out);
        held = false;
      }
      if (keys.count == 0) break;
      keys = following;
      continue;
    }
    auto step = [&](auto adds) {
      [[maybe_unused]] DroppedBits dropped = 0;
      if constexpr (dropping)
        dropped = draw_by_queries<Tile>(
            in.dropout_of(own.sample, own.head), in.key_places.positions.data,
            [&](int i) { return in.query_at(own.sample, row(i)).position; }, key_places, keys.count);
      Tile scores;
      begin_products();
      start_either<S::q_in_registers>(scores, q, q_block, group_row, k);
      end_products();
      if constexpr (adds) {
        start_sum(out, p, v_before);
        end_products();
      }
      finish_products<adds ? 1 : 0>(scores);
      float corrections[Tile::lane_rows];
      if (visible == Seen::some || keys.count < S::keys)
        hide_keys(scores, -infinity, in, own.sample, row, key_places, keys);
      exponentials(scores, states, in.factor, corrections);
      if constexpr (dropping) drop(scores, dropped);
      // The branch asks for sums, so that P is made before it: the compiler would move the wait up, or P down. It is
      // the whole group's, as waits must be.
      bool odd = false;
#pragma unroll
      for (RowState const& state : states) odd |= !(state.sum >= 0);
      if (any_of_warpgroup(group_row / warpgroup_rows, odd || needs_correction(corrections))) {
        if constexpr (adds) finish_products<0>(out);
        out.for_each([&](int i, int, int, float& x) { x *= corrections[i]; });
      }
      if constexpr (adds) finish_products<0>(out), hold(p);
      p = rounded<T>(scores);
    };
    held ? step(std::true_type{}) : step(std::false_type{});
    held = true;
    keys = following;
  }
  __syncthreads();  // all have their Q

  write_results<Tile>(out, states, shared + warp() * 16 * RowBlock<T, 16, depth>::ld, a, own, first_row,
                      dropping ? in.dropout.keep_scale() : 1);
}

template <class T, int depth, bool dropping>
void launch_forward(Cuda const& cuda, Attention const& op) {
  using S = Sizes<T, depth, dropping>;
  std::int64_t const blocks = divide_up(op.shape.queries, S::queries) * op.shape.samples * op.shape.heads;
  launch_kernel(cuda, {grid_size(blocks), S::threads, S::shared_bytes}, warpgroup_forward_kernel<T, depth, dropping>,
                forward_arguments<T>(cuda, op));
}

}  // namespace

bool launch_on_warpgroups(Cuda const& cuda, Attention const& op) {
  if (!takes_warpgroups(cuda, op.shape)) return false;
  visit_warpgroup_kernel(op.q.dtype(), op.shape,
                         [&]<class T>(T, auto depth, auto dropping) { launch_forward<T, depth, dropping>(cuda, op); });
  return true;
}

}  // namespace selenite
