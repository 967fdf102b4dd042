#pragma once
#include "kernels/attention/dropped.cuh"
#include "kernels/attention/forward.cuh"

/// What becomes of scores in registers: masks, probabilities, their derivatives. Whoever multiplied them.
namespace selenite::attention_cuda {

/// Of a tile [query][key]: scores that the lane's queries don't see become -inf. `place(i)`: of row(i).
template <class Tile, int capacity, class Place>
__device__ void hide(Tile& scores, bool causal, Place place, SharedPlaces<capacity>& keys, int count) {
#pragma unroll
  for (int i = 0; i < Tile::lane_rows; ++i) {
    auto const query = place(i);
#pragma unroll
    for (int j = 0; j < Tile::col_tiles; ++j)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        int const key = Tile::col(j, e);
        bool const visible = (key < count) & sees(causal, query, keys[key]);
        scores.at(i, j, e) = visible ? scores.at(i, j, e) : -infinity;
      }
  }
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
/// Whether any row of the warp's has a correction, which is rare, or a lane wants one.
template <int lane_rows>
__device__ bool needs_correction(float const (&corrections)[lane_rows], bool corrected = false) {
#pragma unroll
  for (float const correction : corrections) corrected |= correction != 1;
  return __any_sync(0xffffffffu, corrected);
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

/// P = 2^(factor scores - base of its query), 0 where nothing is seen. `base(i, j, e)`, `visible(i, j, e)`: of an
/// element.
template <class Tile, class Base, class Visible>
__device__ void probabilities(Tile& scores, float factor, bool all, Base base, Visible visible) {
  scores.for_each([&](int i, int j, int e, float& x) { x = exp2_of(fmaf(x, factor, -base(i, j, e))); });
  if (all) return;
#pragma unroll
  for (int j = 0; j < Tile::col_tiles; ++j) {
#pragma unroll
    for (int i = 0; i < Tile::lane_rows; ++i)
#pragma unroll
      for (int e = 0; e < 2; ++e) scores.at(i, j, e) = visible(i, j, e) ? scores.at(i, j, e) : 0.0f;
    keep_loads_behind();  // of the next places: at once, they would take the registers that the sums need
  }
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
