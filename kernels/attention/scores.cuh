#pragma once
#include "kernels/attention/dropped.cuh"
#include "kernels/attention/forward.cuh"

/// What becomes of scores in registers: masks, probabilities, their derivatives. Whoever multiplied them.
namespace selenite::attention_cuda {

/// `hidden` where not visible(place, j, e), with `place(i)` that of row(i).
template <class Tile, class PlaceOf, class Visible>
__device__ void hide(Tile& x, float hidden, PlaceOf place, Visible visible) {
#pragma unroll
  for (int i = 0; i < Tile::lane_rows; ++i) {
    Place const own = place(i);
#pragma unroll
    for (int j = 0; j < Tile::col_tiles; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) x.at(i, j, e) = visible(own, j, e) ? x.at(i, j, e) : hidden;
      keep_loads_behind();  // of the next places: at once, they would take the registers that the sums need
    }
  }
}
/// The same in columns outside of [first(i), end(i)): few instructions an element, which places are not.
template <class Tile, class First, class End>
__device__ void hide_outside(Tile& x, float hidden, First first, End end) {
#pragma unroll
  for (int i = 0; i < Tile::lane_rows; ++i) {
    int const least = first(i) - Tile::col(0, 0), most = end(i) - Tile::col(0, 0);
#pragma unroll
    for (int j = 0; j < Tile::col_tiles; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        bool const inside = (j * 8 + e >= least) & (j * 8 + e < most);
        x.at(i, j, e) = inside ? x.at(i, j, e) : hidden;
      }
  }
}

/// Of a tile [query][key], of a block of keys, what is not seen. `query(i)` is the index of row(i), beyond the end if
/// it is not there.
template <class Tile, class T, int capacity, class Query>
__device__ void hide_keys(Tile& x, float hidden, Inputs<T> const& in, std::int64_t sample, Query query,
                          SharedPlaces<capacity>& places, TokenBlock const& keys) {
  if (in.indexed)
    return hide_outside(
        x, hidden, [](int) { return 0; },
        [&](int i) {
          int const seen = query(i) - keys.first + 1;
          return in.causal && seen < keys.count ? seen : keys.count;
        });
  hide(
      x, hidden, [&](int i) { return in.query_at(sample, query(i)); },
      [&](Place const& own, int j, int e) {
        int const key = Tile::col(j, e);
        return (key < keys.count) & sees(in.causal, own, places[key]);
      });
}
/// Of a tile [key][query], of a block of queries; `key(i)` is the number of row(i) among the keys from `first_key` on.
/// What is not there is not hidden.
template <class Tile, class T, int key_capacity, int query_capacity, class Key>
__device__ void hide_queries(Tile& x, float hidden, Inputs<T> const& in, Key key, int first_key,
                             SharedPlaces<key_capacity>& key_places, SharedPlaces<query_capacity>& query_places,
                             TokenBlock const& queries) {
  if (in.indexed)
    return hide_outside(
        x, hidden, [&](int i) { return in.causal ? first_key + key(i) - queries.first : 0; },
        [](int) { return Tile::cols; });
  hide(
      x, hidden, [&](int i) { return key_places[key(i)]; },
      [&](Place const& own, int j, int e) { return sees(in.causal, query_places[Tile::col(j, e)], own); });
}

/// Scores become exponentials; what the rows' sums so far are to be multiplied by.
template <class Tile>
__device__ void exponentials(Tile& scores, RowState (&states)[Tile::lane_rows], float factor,
                             float (&corrections)[Tile::lane_rows]) {
#pragma unroll
  for (int i = 0; i < Tile::lane_rows; ++i) {
    float top = -infinity;
#pragma unroll
    for (int j = 0; j < Tile::col_tiles; ++j) top = larger(top, larger(scores.at(i, j, 0), scores.at(i, j, 1)));
    corrections[i] = states[i].raise(row_reduce(top, Maximum{}) * factor);
    float const base = states[i].base();
#pragma unroll
    for (int j = 0; j < Tile::col_tiles; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float const p = exp2_of(fmaf(scores.at(i, j, e), factor, -base));
        scores.at(i, j, e) = p, states[i].sum += p;
      }
  }
}
/// Whether a row of the lane's has a correction, which is rare.
template <int lane_rows>
__device__ bool needs_correction(float const (&corrections)[lane_rows]) {
  bool corrected = false;
#pragma unroll
  for (float const correction : corrections) corrected |= correction != 1;
  return corrected;
}

/// What is written of a row of the forward pass; called by all lanes. `lse(i)`: where row(i)'s logsumexp goes, null
/// beyond the last.
template <class Tile, class Lse>
__device__ RowFactors finish_lane_row(RowState (&states)[Tile::lane_rows], int i, Lse lse, bool merge,
                                      double keep_scale) {
  states[i].sum = row_reduce(states[i].sum, Sum{});
  RowFactors factors = finish_row(states[i], lane() % 4 == 0 ? lse(i) : nullptr, merge);
  factors.sums = __shfl_sync(0xffffffffu, factors.sums, lane() / 4 * 4) * static_cast<float>(keep_scale);
  factors.old = __shfl_sync(0xffffffffu, factors.old, lane() / 4 * 4);
  return factors;
}

/// Writes a warp's rows of the forward pass, from query `first` of the sample on, and their logsumexp. `stage` as
/// write_tile has it.
template <class Tile, class T, int depth>
__device__ void write_results(WarpTile<Tile::rows, depth>& out, RowState (&states)[Tile::lane_rows], T* stage,
                              ForwardArguments<T> const& a, OwnTokens const& own, int first, double keep_scale) {
  Inputs<T> const& in = a.in;
  write_tile(out, stage, a.out, own.sample * in.queries + first, static_cast<std::int64_t>(own.head) * in.head_dim,
             in.queries - first, in.head_dim, [&](int i) {
               return finish_lane_row<Tile>(
                   states, i,
                   [&](int n) {
                     int const query = first + Tile::row(n);
                     return query < in.queries ? a.logsumexp + in.stat(own.sample, own.head, query) : nullptr;
                   },
                   a.merge, keep_scale);
             });
}

/// P = 2^(factor scores - base of its query), `base(i, j, e)`.
template <class Tile, class Base>
__device__ void probabilities(Tile& scores, float factor, Base base) {
  scores.for_each([&](int i, int j, int e, float& x) { x = exp2_of(fmaf(x, factor, -base(i, j, e))); });
}

/// dP becomes dS without its scale.
template <bool dropping, class Tile, class Delta>
__device__ void differentiate(Tile& dp, Tile& p, DroppedBits dropped, float keep_scale, Delta delta) {
  dp.for_each([&](int i, int j, int e, float& x) {
    if constexpr (dropping) x = is_dropped<Tile>(dropped, i, j, e) ? 0.0f : x * keep_scale;
    x = p.at(i, j, e) * (x - delta(i, j, e));
  });
}

/// A tile without what is dropped.
template <class Tile>
__device__ void drop(Tile& p, DroppedBits dropped) {
  p.for_each([&](int i, int j, int e, float& x) { x = is_dropped<Tile>(dropped, i, j, e) ? 0.0f : x; });
}

}  // namespace selenite::attention_cuda
