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
__device__ inline Statistics shuffle_xor(Statistics v, int lanes) {
  return {selenite::shuffle_xor(v.maximum, lanes), selenite::shuffle_xor(v.sum, lanes)};
}
constexpr float lowest = -std::numeric_limits<float>::infinity(), log2_of_e = 1.44269504f;

struct Merge {
  __device__ Statistics operator()(Statistics a, Statistics b) const {
    float const maximum = fmaxf(a.maximum, b.maximum);
    // a part without values has the sum 0 and no distance to the maximum; NaN is no 0 and stays
    float const from_a = a.sum == 0 ? 0.0f : a.sum * expf(a.maximum - maximum);
    float const from_b = b.sum == 0 ? 0.0f : b.sum * expf(b.maximum - maximum);
    return {maximum, from_a + from_b};
  }
};

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
__device__ void see(Statistics& so_far, Pack<T, width> const& pack, int count) {
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

/// One block a token, one pass over its logits.
template <class T, int width>
__global__ void __launch_bounds__(1024) statistics_kernel(StatisticsArguments<T> a) {
  __shared__ SharedArray<Statistics, most_warps> shared;
  constexpr int ahead = 4;  // packs on their way at a time
  std::int64_t const t = blockIdx.x;
  Statistics mine{lowest, 0};
  T const* const row = a.logits[t];
  int const step = static_cast<int>(blockDim.x) * width;
  for (int first = static_cast<int>(threadIdx.x) * width; first < a.real; first += ahead * step) {
    Pack<T, width> packs[ahead];
#pragma unroll
    for (int k = 0; k < ahead; ++k)
      if (first + k * step < a.real) packs[k] = load_pack<width>(row + first + k * step);
#pragma unroll
    for (int k = 0; k < ahead; ++k)
      if (first + k * step < a.real) see<width>(mine, packs[k], a.real - (first + k * step));
  }
  mine = block_reduce(mine, Statistics{lowest, 0}, Merge{}, shared);
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
struct BackwardBody {
  RowsOf<T const> logits;
  RowsOf<T> dlogits;
  std::int32_t const* labels;
  std::uint8_t const* weights;
  float const* logsumexp;
  std::int64_t first_column, real;
  float scale;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    FloatPack<width> v = {};
    if (weights[row] != 0 && col < real) {
      float const factor = scale * weights[row], log_sum = logsumexp[row];
      std::int64_t const label = labels[row] - first_column;
      v = load_floats<width>(logits[row] + col);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        float const x = v.at[i] - log_sum, p = col + i == label ? expm1f(x) : __expf(x);
        v.at[i] = col + i < real ? p * factor : 0.0f;
      }
    }
    store_floats<width>(dlogits[row] + col, v);
  }
};

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
    BackwardBody<T> const body{rows_of<T const>(op.logits),
                               rows_of<T>(op.dlogits),
                               data_of<std::int32_t const>(op.labels),
                               data_of<std::uint8_t const>(op.weights),
                               data_of<float const>(op.logsumexp),
                               op.first_column,
                               real_columns(op.logits, op.first_column, op.vocab_size),
                               static_cast<float>(op.scale)};
    map<full_width<T>>(cuda, op.logits.rows(), op.logits.cols(), rows_take(full_width<T>, op.logits, op.dlogits), body);
  });
}

}  // namespace selenite
