#include <algorithm>
#include <limits>

#include "kernels/cross_entropy/cross_entropy.hpp"
#include "kernels/cuda/map.cuh"
#include "kernels/cuda/reduce.cuh"

namespace selenite {
namespace {

std::int64_t real_columns(Tensor const& logits, std::int64_t first_column, std::int64_t vocab_size) {
  return std::clamp<std::int64_t>(vocab_size - first_column, 0, logits.cols());
}

/// The largest value so far, and the sum of exp(value - maximum).
struct Statistics {
  float maximum, sum;
};
constexpr float lowest = -std::numeric_limits<float>::infinity(), log2_of_e = 1.44269504f;

/// A part's sum seen against the maximum of all parts. A part without values has the sum 0 and no distance to the
/// maximum; NaN is no 0 and stays.
__device__ inline float sum_against(Statistics part, float maximum) {
  return part.sum == 0 ? 0.0f : part.sum * expf(part.maximum - maximum);
}
__device__ inline Statistics merge_block(Statistics mine, SharedArray<Statistics, most_warps>& shared) {
  float maximum = warp_reduce(mine.maximum, Maximum{});
  float sum = warp_reduce(sum_against(mine, maximum), Sum{});
  Statistics const part = exchange_between_warps(Statistics{maximum, sum}, Statistics{lowest, 0}, shared);
  maximum = reduce_warps(part.maximum, Maximum{});
  sum = reduce_warps(sum_against(part, maximum), Sum{});
  return {maximum, sum};
}

template <class T>
struct StatisticsArguments {
  RowsOf<T const> logits;
  std::int32_t const* labels;
  float *maximum, *sum, *target;
  std::int64_t first_column;
  int real;
};

/// Where a pack raises the maximum, what has been summed is scaled down.
template <int width, class T>
__device__ void see(Statistics& so_far, RawPack<T, width> const& pack, int count) {
  FloatPack<width> x = widen(pack);
  if (count < width) {  // padding: no maximum, and its exponential is 0
#pragma unroll
    for (int i = 0; i < width; ++i)
      if (i >= count) x.at[i] = lowest;
  }
  float maximum = so_far.maximum;
#pragma unroll
  for (int i = 0; i < width; ++i) maximum = fmaxf(maximum, x.at[i]);
  if (maximum > so_far.maximum)
    so_far = {maximum, so_far.sum == 0 ? 0.0f : so_far.sum * exp2_of((so_far.maximum - maximum) * log2_of_e)};
  float const from = so_far.maximum == lowest ? 0.0f : so_far.maximum;  // nothing but -inf and NaN so far
  float sum = 0;
#pragma unroll
  for (int i = 0; i < width; ++i) sum += exp2_of((x.at[i] - from) * log2_of_e);
  so_far.sum += sum;
}

/// One block a token, one pass over its logits, of which each thread has some on their way at any time.
template <class T, int width>
__global__ void __launch_bounds__(512, 3) statistics_kernel(StatisticsArguments<T> a) {
  __shared__ SharedArray<Statistics, most_warps> shared;
  constexpr int ahead = 4;  // packs
  std::int64_t const t = blockIdx.x;
  Statistics mine{lowest, 0};
  T const* const row = a.logits[t];
  int const step = static_cast<int>(blockDim.x) * width;
  RawPack<T, width> packs[ahead];
  int first = static_cast<int>(threadIdx.x) * width;
#pragma unroll
  for (int k = 0; k < ahead; ++k)
    if (first + k * step < a.real) packs[k] = load_raw<width>(row + first + k * step);
  for (; first < a.real; first += ahead * step) {
#pragma unroll
    for (int k = 0; k < ahead; ++k) {
      int const here = first + k * step, next = here + ahead * step;
      if (here < a.real) see<width>(mine, packs[k], a.real - here);
      if (next < a.real) packs[k] = load_raw<width>(row + next);
    }
  }
  mine = merge_block(mine, shared);
  if (threadIdx.x > 0) return;
  std::int64_t const label = a.labels[t] - a.first_column;
  a.maximum[t] = mine.maximum;
  a.sum[t] = mine.sum;
  a.target[t] = label >= 0 && label < a.real ? to_float(row[label]) : 0.0f;
}

struct RescaleBody {
  float const* maximum;
  float* sum;
  float const* new_maximum;
  template <int width>
  __device__ void apply(std::int64_t, std::int64_t first) const {
    for (std::int64_t t = first; t < first + width; ++t)  // NaN stays NaN; a shard of padding alone has sum 0
      if (sum[t] != 0) sum[t] *= expf(maximum[t] - new_maximum[t]);
  }
};

struct LossArguments {
  float const *maximum, *sum, *target;
  std::uint8_t const* weights;
  float *logsumexp, *losses;
  double* totals;
  int tokens;
};
/// One block: the totals have one order, by the number of tokens alone.
__global__ void __launch_bounds__(1024) loss_kernel(LossArguments a) {
  __shared__ SharedArray<double, most_warps> shared;
  double loss_sum = 0, counted = 0;
  for (int t = static_cast<int>(threadIdx.x); t < a.tokens; t += static_cast<int>(blockDim.x)) {
    double const logsumexp = a.maximum[t] + log(static_cast<double>(a.sum[t])), weight = a.weights[t];
    double const loss = weight == 0 ? 0 : weight * (logsumexp - a.target[t]);
    a.logsumexp[t] = static_cast<float>(logsumexp);
    a.losses[t] = static_cast<float>(loss);
    loss_sum += loss, counted += weight;
  }
  loss_sum = block_sum(loss_sum, shared);
  counted = block_sum(counted, shared);
  if (threadIdx.x > 0) return;
  a.totals[0] += loss_sum;
  a.totals[1] += counted;
}

template <class T>
struct BackwardArguments {
  RowsOf<T const> logits;
  RowsOf<T> dlogits;
  std::int32_t const* labels;
  std::uint8_t const* weights;
  float const* logsumexp;
  std::int64_t first_column;
  int real, columns;
  float scale;
};
/// What is the same in a row.
struct BackwardRow {
  float factor, log_sum;
  int label, real;  ///< label -1: not in this shard
};

/// factor * (probability - 1 at the label), 0 in padding. Few packs have either.
template <int width>
__device__ FloatPack<width> gradient_of(FloatPack<width> const& x, int column, BackwardRow const& row) {
  FloatPack<width> v;
#pragma unroll
  for (int i = 0; i < width; ++i) v.at[i] = exp2_of((x.at[i] - row.log_sum) * log2_of_e) * row.factor;
  if (row.label >= column && row.label < column + width) {
    float at_label = 0;
#pragma unroll
    for (int i = 0; i < width; ++i)
      if (column + i == row.label) at_label = x.at[i];
    at_label = expm1f(at_label - row.log_sum) * row.factor;  // probability - 1, of which nothing cancels
#pragma unroll
    for (int i = 0; i < width; ++i)
      if (column + i == row.label) v.at[i] = at_label;
  }
  if (column + width > row.real) {
#pragma unroll
    for (int i = 0; i < width; ++i)
      if (column + i >= row.real) v.at[i] = 0;
  }
  return v;
}

constexpr int backward_packs = 4;  // of a thread, all on their way before the first is used

/// A block has a piece of a row: block x is the row, y the piece.
template <class T, int width>
__global__ void __launch_bounds__(256) backward_kernel(BackwardArguments<T> a) {
  std::int64_t const t = blockIdx.x;
  int const step = static_cast<int>(blockDim.x) * width;
  int const first = static_cast<int>(blockIdx.y) * backward_packs * step + static_cast<int>(threadIdx.x) * width;
  RawPack<T, width> packs[backward_packs];
#pragma unroll
  for (int k = 0; k < backward_packs; ++k)
    if (first + k * step < a.columns) packs[k] = load_raw<width>(a.logits[t] + first + k * step);
  std::int64_t const label = a.labels[t] - a.first_column;
  BackwardRow const row{a.scale * a.weights[t], a.logsumexp[t],
                        label >= 0 && label < a.real ? static_cast<int>(label) : -1, a.weights[t] != 0 ? a.real : 0};
#pragma unroll
  for (int k = 0; k < backward_packs; ++k) {
    int const column = first + k * step;
    if (column < a.columns)
      store_floats<width>(a.dlogits[t] + column, gradient_of<width>(widen(packs[k]), column, row));
  }
}

}  // namespace

void launch(Cuda& cuda, CrossEntropyStatistics const& op) {
  visit_device_float(op.logits.dtype(), [&]<class T>(T) {
    constexpr int width = full_width<T>;
    std::int64_t const n = op.logits.cols();
    StatisticsArguments<T> const a{rows_of<T const>(op.logits),
                                   data_of<std::int32_t const>(op.labels),
                                   data_of<float>(op.maximum),
                                   data_of<float>(op.sum),
                                   data_of<float>(op.target),
                                   op.first_column,
                                   static_cast<int>(real_columns(op.logits, op.first_column, op.vocab_size))};
    bool const packs = n % width == 0 && rows_take(width, op.logits);
    std::int64_t const work = packs ? n / width : n;
    Launch const shape{grid_size(op.logits.rows()), whole_warps(work < 512 ? work : 512)};
    launch_kernel(cuda, shape, packs ? statistics_kernel<T, width> : statistics_kernel<T, 1>, a);
  });
}

void launch(Cuda& cuda, CrossEntropyRescale const& op) {
  RescaleBody const body{data_of<float const>(op.maximum), data_of<float>(op.sum),
                         data_of<float const>(op.new_maximum)};
  map<1>(cuda, 1, op.sum.count(), false, body);
}

void launch(Cuda& cuda, CrossEntropyLoss const& op) {
  LossArguments const a{data_of<float const>(op.maximum), data_of<float const>(op.sum),
                        data_of<float const>(op.target),  data_of<std::uint8_t const>(op.weights),
                        data_of<float>(op.logsumexp),     data_of<float>(op.losses),
                        data_of<double>(op.totals),       static_cast<int>(op.losses.count())};
  launch_kernel(cuda, {1u, whole_warps(a.tokens < 1024 ? a.tokens : 1024)}, loss_kernel, a);
}

void launch(Cuda& cuda, CrossEntropyBackward const& op) {
  visit_device_float(op.logits.dtype(), [&]<class T>(T) {
    constexpr int width = full_width<T>;
    std::int64_t const n = op.logits.cols();
    BackwardArguments<T> const a{rows_of<T const>(op.logits),
                                 rows_of<T>(op.dlogits),
                                 data_of<std::int32_t const>(op.labels),
                                 data_of<std::uint8_t const>(op.weights),
                                 data_of<float const>(op.logsumexp),
                                 op.first_column,
                                 static_cast<int>(real_columns(op.logits, op.first_column, op.vocab_size)),
                                 static_cast<int>(n),
                                 static_cast<float>(op.scale)};
    bool const packs = n % width == 0 && rows_take(width, op.logits, op.dlogits);
    std::int64_t const work = divide_up(packs ? n / width : n, backward_packs);  // threads of a row
    unsigned const threads = whole_warps(work < 256 ? work : 256);
    launch_kernel(cuda, {dim3(grid_size(op.logits.rows()), grid_size(divide_up(work, threads))), threads},
                  packs ? backward_kernel<T, width> : backward_kernel<T, 1>, a);
  });
}

}  // namespace selenite
