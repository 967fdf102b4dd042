#include "kernels/attention/scores.cuh"
#include "kernels/attention/tensor_core_cuda.hpp"

namespace selenite {
namespace {

using namespace attention_cuda;

/// A block of threads has `queries` rows, each warp `rows` of them: with more, what is read of K and V is used more
/// often, and with more keys, what is read of Q, as far as registers hold the scores and the sums.
template <class T, int depth, bool dropping>
struct Sizes {
  static constexpr int warps = 4, threads = warps * warp_size, rows = depth <= 128 ? 32 : 16, queries = warps * rows,
                       keys = dropping && depth == 128 ? 32 : 64;
  using Queries = RowBlock<T, queries, depth>;
  using Keys = RowBlock<T, keys, depth>;
  static constexpr int ld = Keys::ld;
  static constexpr std::size_t shared_bytes = Queries::bytes + 2 * Keys::bytes;
};

/// A block of queries of one head: O += P V over the blocks of keys that it sees, P = 2^(factor Q K^T - top).
template <class T, int depth, bool dropping>
__global__ void __launch_bounds__(Sizes<T, depth, dropping>::threads, 2) forward_kernel(ForwardArguments<T> a) {
  using S = Sizes<T, depth, dropping>;
  using Tile = WarpTile<S::rows, S::keys>;
  constexpr int ld = S::ld;
  __shared__ SharedPlaces<S::keys> places[2];
  auto const shared = dynamic_shared<T>();
  typename S::Queries const q{&shared[0]};
  typename S::Keys const k{&shared[S::queries * ld]}, v{&shared[(S::queries + S::keys) * ld]};

  Inputs<T> const& in = a.in;
  // the last queries see the most keys: the longest first
  OwnTokens const own =
      own_tokens<S::warps, S::rows>(in.query_places, in.queries, in.heads, in.query_section, true, warp());
  std::int64_t const q_row = own.sample * in.queries, q_col = static_cast<std::int64_t>(own.head) * in.head_dim,
                     k_row = own.sample * in.keys,
                     k_col = static_cast<std::int64_t>(own.head / (in.heads / in.kv_heads)) * in.head_dim;
  auto row = [&](int i) { return own.part_first + Tile::row(i); };
  auto next = [&](int key) {
    return next_block<S::keys>(in.key_places, own.sample, key, in.keys, [&](PlaceRange const& range) {
      return seen(in.causal, own.range, range) != Seen::nothing;
    });
  };
  auto copy = [&](typename S::Keys const& to, RowsOf<T const> const& from, TokenBlock const& block) {
    to.template copy<S::threads>(from, k_row + block.first, k_col, block.count, in.head_dim, in.packs);
  };

  WarpTile<S::rows, depth> out;
  out.clear();
  RowState states[Tile::lane_rows];
  TokenBlock keys = next(0);
  q.template copy<S::threads>(in.q, q_row + own.first, q_col, own.count, in.head_dim, in.packs);
  copy(k, in.k, keys);
  places[0].load(in.key_places, own.sample, keys.first, keys.count);
  for (int stage = 0; keys.count > 0; stage ^= 1) {
    Seen const visible = own.sees(in.causal, keys.range);
    SharedPlaces<S::keys>& key_places = places[stage];
    DroppedBits dropped = 0;
    Tile p;
    wait_for_copies();
    __syncthreads();  // Q, K and the places are there; V and the places before are no longer read
    copy(v, in.v, keys);
    if (visible != Seen::nothing) {
      if constexpr (dropping)  // now, as registers are free
        dropped = draw_by_queries<Tile>(
            in.dropout_of(own.sample, own.head), in.key_places.positions.data,
            [&](int i) { return in.query_at(own.sample, row(i)).position; }, key_places, keys.count);
      p.clear();
      add_product<depth, ld>(p, q.data + warp() * S::rows * ld, k.data);
    }
    wait_for_copies();
    __syncthreads();  // V is there; K is no longer read
    TokenBlock const following = next(keys.first + S::keys);
    copy(k, in.k, following);
    places[stage ^ 1].load(in.key_places, own.sample, following.first, following.count);
    if (visible != Seen::nothing) {
      float corrections[Tile::lane_rows];
      if (visible == Seen::some || keys.count < S::keys) hide_keys(p, -infinity, in, own.sample, row, key_places, keys);
      exponentials(p, states, in.factor, corrections);
      if (__any_sync(0xffffffffu, needs_correction(corrections)))
        out.for_each([&](int i, int, int, float& x) { x *= corrections[i]; });
      if constexpr (dropping) drop(p, dropped);
      add_product<ld>(out, rounded<T>(p), v.data);
    }
    keys = following;
  }
  wait_for_copies();  // of Q, where no key is seen
  __syncthreads();

  write_results<Tile>(out, states, q.data + warp() * S::rows * ld, a, own, own.part_first,
                      dropping ? in.dropout.keep_scale() : 1);
}

template <class T, int depth, bool dropping>
void launch_forward(Cuda const& cuda, Attention const& op) {
  using S = Sizes<T, depth, dropping>;
  std::int64_t const blocks = divide_up(op.shape.queries, S::queries) * op.shape.samples * op.shape.heads;
  launch_kernel(cuda, {grid_size(blocks), S::threads, S::shared_bytes}, forward_kernel<T, depth, dropping>,
                forward_arguments<T>(cuda, op));
}

}  // namespace

void launch_on_tensor_cores(Cuda const& cuda, Attention const& op) {
  visit_tensor_core_type(op.q.dtype(), [&]<class T>(T) {
    visit_tensor_core_depth(op.shape.head_dim, [&](auto depth) {
      op.shape.dropout.probability > 0 ? launch_forward<T, depth, true>(cuda, op)
                                       : launch_forward<T, depth, false>(cuda, op);
    });
  });
}

}  // namespace selenite
