#include "kernels/attention/forward.cuh"
#include "kernels/attention/library.hpp"
#include "kernels/attention/tensor_core_cuda.hpp"
#include "kernels/attention/tile.cuh"
#include "kernels/attention/warpgroup_cuda.hpp"

namespace selenite {
namespace {

using namespace attention_cuda;

/// Sizes of the forward pass: a block of threads has `queries` rows, each warp `rows` of them.
template <int depth>
struct ForwardSizes {
  static constexpr int warps = 4, threads = warps * warp_size;
  static constexpr int rows = depth <= 64 ? 32 : 16;  ///< more rows use what is read of K and V more often
  static constexpr int queries = warps * rows, keys = 32;
  using Queries = RowBlock<float, queries, depth>;
  using Keys = RowBlock<float, keys, depth>;
  using WarpScores = Scores<rows, keys>;
  static constexpr std::size_t shared_bytes =
      Queries::bytes + 2 * Keys::bytes + warps * WarpScores::floats * static_cast<int>(sizeof(float));
};

/// Scores become exponentials, dropped or not. The factor that the row's sums so far are to be multiplied by.
template <class Scores>
__device__ float exponentials(RowState& state, float (&values)[Scores::lane_keys], KeyBits<Scores::lane_keys> visible,
                              float factor) {
  float top = -infinity;
#pragma unroll
  for (int j = 0; j < Scores::lane_keys; ++j) {
    values[j] = visible >> j & 1u ? values[j] * factor : -infinity;
    top = fmaxf(top, values[j]);
  }
  if constexpr (Scores::sharing == 2) top = fmaxf(top, shuffle_xor(top, Scores::rows));
  float const correction = state.raise(top), base = state.base();
#pragma unroll
  for (int j = 0; j < Scores::lane_keys; ++j) {
    values[j] = exp2f(values[j] - base);
    state.sum += values[j];
  }
  return correction;
}

/// A block of queries of one head: O += P V over the blocks of keys that it sees, P = 2^(factor Q K^T - top).
template <int depth>
__global__ void __launch_bounds__(ForwardSizes<depth>::threads) forward_kernel(ForwardArguments<float> a) {
  using Sizes = ForwardSizes<depth>;
  using WarpScores = typename Sizes::WarpScores;
  constexpr int rows = Sizes::rows, ld = Sizes::Keys::ld;
  __shared__ SharedPlaces<Sizes::keys> key_places;
  auto const shared = dynamic_shared<float>();
  constexpr int key_offset = Sizes::queries * ld, value_offset = key_offset + Sizes::keys * ld,
                score_offset = value_offset + Sizes::keys * ld;
  typename Sizes::Queries const q{&shared[0]};
  typename Sizes::Keys const k{&shared[key_offset]}, v{&shared[value_offset]};
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
  Place const query = in.query_places(own.sample, present ? own.part_first + row : own.first);
  HeadDropout const dropout = in.dropout_of(own.sample, own.head);
  auto next = [&](int key) {
    return next_block<Sizes::keys>(in.key_places, own.sample, key, in.keys, [&](PlaceRange const& range) {
      return seen(in.causal, own.range, range) != Seen::nothing;
    });
  };
  auto copy = [&](typename Sizes::Keys const& to, RowsOf<float const> const& from, TokenBlock const& block) {
    to.template copy<Sizes::threads>(from, k_row + block.first, k_col, block.count, in.head_dim, in.packs);
  };

  Sums<rows, depth> out;
  out.clear();
  RowState state;
  bool empty = true;  // sums are still zero
  TokenBlock keys = next(0);
  q.template copy<Sizes::threads>(in.q, q_row + own.first, q_col, own.count, in.head_dim, in.packs);
  copy(k, in.k, keys);
  while (keys.count > 0) {
    Seen const visible = own.sees(in.causal, keys.range);
    wait_for_copies();
    __syncthreads();  // Q and K are there; V and the places are no longer read
    copy(v, in.v, keys);
    key_places.load(in.key_places, own.sample, keys.first, keys.count);
    if (visible != Seen::nothing) {
      Sums<rows, Sizes::keys> products;
      products.clear();
      products.template add<depth, Stored::by_rows, Stored::by_columns>(q.data + warp() * rows * ld, ld, k.data, ld);
      products.template store<Sizes::keys>(0, scores.data, WarpScores::ld);
    }
    wait_for_copies();
    __syncthreads();  // V and the places are there; K is no longer read
    TokenBlock const following = next(keys.first + Sizes::keys);
    copy(k, in.k, following);
    if (visible != Seen::nothing) {
      constexpr int mine = WarpScores::lane_keys;
      using Bits = KeyBits<mine>;
      float values[mine];
      scores.read(0, values);
      Bits bits = ~Bits{0}, kept = ~Bits{0};
      if (visible == Seen::some || keys.count < Sizes::keys)
        bits = visible_bits<mine>(in.causal, query, key_places, WarpScores::first_key(), keys.count);
      if (in.dropout.active()) kept = dropout.kept_bits<mine>(query, key_places, WarpScores::first_key(), keys.count);
      float const correction = exponentials<WarpScores>(state, values, bits, in.factor);
      if (__any_sync(0xffffffffu, correction != 1) && !empty)
        scale_rows<WarpScores::floats>(out, scores.data, correction);
      empty = false;
      if (in.dropout.active()) {
#pragma unroll
        for (int j = 0; j < mine; ++j) values[j] = kept >> j & 1u ? values[j] : 0.0f;
      }
      __syncwarp();  // all have read their scores
      scores.write(0, values);
      __syncwarp();
      out.template add<Sizes::keys, Stored::by_rows, Stored::by_rows>(scores.data, WarpScores::ld, v.data, ld);
      __syncwarp();
    }
    keys = following;
  }
  wait_for_copies();  // of Q, where no key is seen

  if (WarpScores::sharing == 2) state.sum += shuffle_xor(state.sum, rows);
  bool const writes = present && lane() < rows;
  RowFactors factors =
      finish_row(state, writes ? a.logsumexp + in.stat(own.sample, own.head, own.part_first + row) : nullptr, a.merge);
  if (in.dropout.active()) factors.sums *= static_cast<float>(in.dropout.keep_scale());
  for_each_pack<WarpScores::floats>(out, scores.data, [&](int r, int col, auto pack) {
    float const weight = __shfl_sync(0xffffffffu, factors.sums, r), old = __shfl_sync(0xffffffffu, factors.old, r);
    for (float& x : pack.at) x *= weight;
    if (r < own.part_count) a.out.write(q_row + own.part_first + r, q_col + col, pack, in.head_dim - col, old);
  });
}

template <int depth>
void launch_forward(Cuda const& cuda, Attention const& op) {
  using Sizes = ForwardSizes<depth>;
  std::int64_t const blocks = divide_up(op.shape.queries, Sizes::queries) * op.shape.samples * op.shape.heads;
  launch_kernel(cuda, {grid_size(blocks), Sizes::threads, Sizes::shared_bytes}, forward_kernel<depth>,
                forward_arguments<float>(cuda, op));
}

}  // namespace

void launch(Cuda& cuda, Attention const& op) {
  check(op);
  if (launch_library(cuda, op)) return;
  if (op.q.dtype() == DType::fp32)
    visit_depth(op.shape.head_dim, [&](auto depth) { launch_forward<depth>(cuda, op); });
  else if (!launch_on_warpgroups(cuda, op))
    launch_on_tensor_cores(cuda, op);
  cuda.flops += counted_flops(op.shape, 4);
}

}  // namespace selenite
