#include "kernels/attention/block.cuh"
#include "kernels/attention/library.hpp"

namespace selenite {
namespace {

using namespace attention_cuda;

template <class T>
struct ForwardArguments {
  Inputs<T> in;
  Output<T> out;
  float* logsumexp;
  bool merge;
};

/// Sizes of the forward pass: a block of threads has `queries` rows, each warp `rows` of them.
template <class T, int depth>
struct ForwardSizes {
  static constexpr int warps = 4, threads = warps * warp_size;
  static constexpr int rows = depth * sizeof(T) <= 256 ? 32 : 16;  ///< more rows use what is read of K and V more often
  static constexpr int queries = warps * rows, keys = sizeof(T) == 2 && depth <= 64 ? 64 : 32;
  using Queries = RowBlock<T, queries, depth>;
  using Keys = RowBlock<T, keys, depth>;
  using WarpScores = Scores<T, rows, keys>;
  static constexpr std::size_t shared_bytes =
      Queries::bytes + 2 * Keys::bytes + warps * WarpScores::floats * static_cast<int>(sizeof(float));
};

/// Of a lane's row: exponentials are taken from `top`, in units of log 2.
struct RowState {
  float top = -infinity, sum = 0;
};

/// A row's maximum may grow by so much (a factor of 2^8 in its exponentials) before its sums are brought to the new
/// one. Sums sit in tensor cores' registers, and cross shared memory to be multiplied: it should be rare.
constexpr float slack = 8;

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
  float correction = 1;
  if (top > state.top + slack) {
    correction = exp2f(state.top - top);
    state.top = top, state.sum *= correction;
  }
  float const base = state.top == -infinity ? 0.0f : state.top;  // a row that has seen nothing: 2^(-inf - 0) = 0
#pragma unroll
  for (int j = 0; j < Scores::lane_keys; ++j) {
    values[j] = exp2f(values[j] - base);
    state.sum += values[j];
  }
  return correction;
}

/// What a row's sums are multiplied by in the end, and what the output that is there.
struct RowWeights {
  float sums, old;
};
/// Writes the row's logsumexp; `lse` null: there is no such row.
__device__ inline RowWeights finish_row(RowState const& state, float* lse, bool merge) {
  bool const none = state.sum == 0;  // NaN is not none
  float const here = none ? -infinity : (state.top + log2f(state.sum)) / static_cast<float>(log2e);
  RowWeights weights{none ? 0.0f : 1.0f / state.sum, 0};
  if (!lse) return weights;
  float all = here;
  if (merge) {
    float const there = *lse, top = fmaxf(here, there);
    all = top;
    if (top > -infinity) {
      float const from_there = expf(there - top), from_here = expf(here - top), sum = from_there + from_here;
      weights = {weights.sums * (from_here / sum), from_there / sum};
      all = top + logf(sum);
    }
  }
  *lse = all;
  return weights;
}

/// A block of queries of one head: O += P V over the blocks of keys that it sees, P = 2^(factor Q K^T - top).
template <class T, int depth>
__global__ void __launch_bounds__(ForwardSizes<T, depth>::threads) forward_kernel(ForwardArguments<T> a) {
  using Sizes = ForwardSizes<T, depth>;
  using WarpScores = typename Sizes::WarpScores;
  constexpr int rows = Sizes::rows, ld = Sizes::Keys::ld;
  __shared__ SharedPlaces<Sizes::keys> key_places;
  auto const shared = dynamic_shared<T>();
  constexpr int element = sizeof(T), key_offset = Sizes::Queries::bytes / element,
                value_offset = key_offset + Sizes::Keys::bytes / element,
                score_offset = value_offset + Sizes::Keys::bytes / element;
  typename Sizes::Queries const q{&shared[0]};
  typename Sizes::Keys const k{&shared[key_offset]}, v{&shared[value_offset]};
  WarpScores const scores{reinterpret_cast<float*>(&shared[score_offset]) + warp() * WarpScores::floats};

  Inputs<T> const& in = a.in;
  // the last queries see the most keys: the longest first
  OwnTokens const own = own_tokens<Sizes::warps, rows>(in.query_places, in.queries, in.heads, true);
  std::int64_t const q_row = own.sample * in.queries, q_col = static_cast<std::int64_t>(own.head) * in.head_dim,
                     k_row = own.sample * in.keys,
                     k_col = static_cast<std::int64_t>(own.head / (in.heads / in.kv_heads)) * in.head_dim;
  int const row = WarpScores::row(0);
  bool const present = row < own.warp_count;
  Place const query = in.query_places(own.sample, present ? own.warp_first + row : own.first);
  HeadDropout const dropout = in.dropout_of(own.sample, own.head);
  auto next = [&](int key) {
    return next_block<Sizes::keys>(in.key_places, own.sample, key, in.keys, [&](PlaceRange const& range) {
      return seen(in.causal, own.range, range) != Seen::nothing;
    });
  };
  auto copy = [&](typename Sizes::Keys const& to, RowsOf<T const> const& from, TokenBlock const& block) {
    to.template copy<Sizes::threads>(from, k_row + block.first, k_col, block.count, in.head_dim, in.packs);
  };

  Sums<T, rows, depth> out;
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
      Sums<T, rows, Sizes::keys> products;
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
      out.template add<Sizes::keys, Stored::by_rows, Stored::by_rows>(scores.elements(), WarpScores::element_ld, v.data,
                                                                      ld);
      __syncwarp();
    }
    keys = following;
  }
  wait_for_copies();  // of Q, where no key is seen

  if (WarpScores::sharing == 2) state.sum += shuffle_xor(state.sum, rows);
  bool const writes = present && lane() < rows;
  RowWeights weights =
      finish_row(state, writes ? a.logsumexp + in.stat(own.sample, own.head, own.warp_first + row) : nullptr, a.merge);
  if (in.dropout.active()) weights.sums *= static_cast<float>(in.dropout.keep_scale());
  for_each_pack<WarpScores::floats>(out, scores.data, [&](int r, int col, auto pack) {
    float const weight = __shfl_sync(0xffffffffu, weights.sums, r), old = __shfl_sync(0xffffffffu, weights.old, r);
    for (float& x : pack.at) x *= weight;
    if (r < own.warp_count) a.out.write(q_row + own.warp_first + r, q_col + col, pack, in.head_dim - col, old);
  });
}

}  // namespace

void launch(Cuda& cuda, Attention const& op) {
  check(op);
  if (launch_library(cuda, op)) return;
  AttentionShape const& s = op.shape;
  visit_device_float(op.q.dtype(), [&]<class T>(T) {
    ForwardArguments<T> const a{inputs_of<T>(op), output_of<T>(op.out, s.head_dim, op.merge),
                                data_of<float>(op.logsumexp), op.merge};
    visit_depth(s.head_dim, [&](auto depth) {
      using Sizes = ForwardSizes<T, depth>;
      std::int64_t const blocks = divide_up(s.queries, Sizes::queries) * s.samples * s.heads;
      launch_kernel(cuda, {grid_size(blocks), Sizes::threads, Sizes::shared_bytes}, forward_kernel<T, depth>, a);
    });
  });
  cuda.flops += counted_flops(s, 4);
}

}  // namespace selenite
