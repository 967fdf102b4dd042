#include <limits>

#include "kernels/attention/places.cuh"
#include "kernels/cuda/block_row.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/matrix_attention/softmax_cuda.hpp"

namespace selenite {
namespace {

template <class T>
struct SoftmaxArguments {
  RowsOf<T const> scores;
  RowsOf<T> probabilities, dropped;  ///< dropped null: no dropout
  DevicePlaces queries, keys;
  std::int64_t const* sample_ids;  ///< null: 0
  AttentionDropout dropout;
  std::int64_t first_head;
  int query_count, key_count, heads;
  bool causal;
};

/// One block a row: maximum; sum of exp; probabilities from a second exp, so that nothing is rounded twice.
template <class T, int width, int held>
__global__ void __launch_bounds__(1024) softmax_kernel(SoftmaxArguments<T> a) {
  __shared__ SharedArray<float, most_warps> shared;
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  std::int64_t const row = blockIdx.x, matrix = row / a.query_count, sample = matrix / a.heads;
  Place const query = a.queries(sample, static_cast<int>(row % a.query_count));
  BlockRow<T, width, held> const scores(a.scores[row], a.key_count);
  auto score = [&](int key, float value) { return sees(a.causal, query, a.keys(sample, key)) ? value : lowest; };
  float maximum = lowest, sum = 0;
  scores.for_each([&](int key, FloatPack<width> const& x) {
    for (int i = 0; i < width; ++i) maximum = fmaxf(maximum, score(key + i, x.at[i]));
  });
  maximum = block_reduce(maximum, lowest, Maximum{}, shared);
  bool const none = maximum == lowest;
  if (!none)
    scores.for_each([&](int key, FloatPack<width> const& x) {
      for (int i = 0; i < width; ++i) sum += expf(score(key + i, x.at[i]) - maximum);
    });
  sum = block_sum(sum, shared);
  float const inverse = none ? 0.0f : 1.0f / sum;
  std::uint64_t const id = a.sample_ids ? static_cast<std::uint64_t>(a.sample_ids[sample]) : 0;
  auto const head = static_cast<std::uint64_t>(a.first_head + matrix % a.heads),
             position = static_cast<std::uint64_t>(query.position);
  scores.for_each([&](int key, FloatPack<width> const& x) {
    FloatPack<width> p = {}, kept = {};
    std::uint64_t octet = ~std::uint64_t{0};
    std::uint32_t bits = 0;
    for (int i = 0; i < width; ++i) {
      p.at[i] = none ? 0.0f : expf(score(key + i, x.at[i]) - maximum) * inverse;
      if (!a.dropped.data) continue;
      auto const at = static_cast<std::uint64_t>(a.keys(sample, key + i).position);
      if (at / 8 != octet) octet = at / 8, bits = a.dropout.dropped(id, head, position, octet);
      kept.at[i] = bits >> (at % 8) & 1u ? 0.0f : p.at[i] * static_cast<float>(a.dropout.keep_scale());
    }
    store_floats<width>(a.probabilities[row] + key, p);
    if (a.dropped.data) store_floats<width>(a.dropped[row] + key, kept);
  });
}

template <class T>
struct SoftmaxBackwardArguments {
  RowsOf<T const> probabilities, dropped;
  RowsOf<T> dscores;
  int keys;
};
template <class T, int width, int held>
__global__ void __launch_bounds__(1024) softmax_backward_kernel(SoftmaxBackwardArguments<T> a) {
  __shared__ SharedArray<float, most_warps> shared;
  std::int64_t const row = blockIdx.x;
  BlockRow<T, width, held> const gradient(a.dscores[row], a.keys);
  float sum = 0;
  gradient.for_each([&](int key, FloatPack<width> const& dp) {
    FloatPack<width> const d = load_floats<width>(a.dropped[row] + key);
    for (int i = 0; i < width; ++i) sum = fmaf(d.at[i], dp.at[i], sum);
  });
  sum = block_sum(sum, shared);
  gradient.for_each([&](int key, FloatPack<width> const& dp) {
    FloatPack<width> const d = load_floats<width>(a.dropped[row] + key),
                           p = load_floats<width>(a.probabilities[row] + key);
    FloatPack<width> g;
    for (int i = 0; i < width; ++i) g.at[i] = d.at[i] * dp.at[i] - p.at[i] * sum;
    store_floats<width>(a.dscores[row] + key, g);
  });
}

}  // namespace

void launch(Cuda& cuda, MaskedSoftmax const& op) {
  visit_device_float(op.scores.dtype(), [&]<class T>(T) {
    AttentionShape const& s = op.shape;
    SoftmaxArguments<T> const a{rows_of<T const>(op.scores), rows_of<T>(op.probabilities),
                                rows_of<T>(op.dropped),      places_of(op.query_places),
                                places_of(op.key_places),    data_of<std::int64_t const>(op.sample_ids),
                                AttentionDropout(s.dropout), s.first_head,
                                static_cast<int>(s.queries), static_cast<int>(s.keys),
                                static_cast<int>(s.heads),   s.causal};
    bool const packs = rows_take(full_width<T>, op.scores, op.probabilities, op.dropped);
    visit_row_access<T>(s.keys, packs, [&](auto access, unsigned threads) {
      launch_kernel(cuda, {grid_size(s.samples * s.heads * s.queries), threads},
                    softmax_kernel<T, access.width, access.held>, a);
    });
  });
}

void softmax_backward(Cuda& cuda, MatrixAttentionBackward const& op) {
  Tensor const& dropped = op.dropped.defined() ? op.dropped : op.probabilities;
  visit_device_float(op.dscores.dtype(), [&]<class T>(T) {
    SoftmaxBackwardArguments<T> const a{rows_of<T const>(op.probabilities), rows_of<T const>(dropped),
                                        rows_of<T>(op.dscores), static_cast<int>(op.shape.keys)};
    bool const packs = rows_take(full_width<T>, op.probabilities, dropped, op.dscores);
    visit_row_access<T>(op.shape.keys, packs, [&](auto access, unsigned threads) {
      launch_kernel(cuda, {grid_size(op.dscores.rows()), threads},
                    softmax_backward_kernel<T, access.width, access.held>, a);
    });
  });
}

}  // namespace selenite
