#include "kernels/cuda/block_row.cuh"
#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/norm/norm.hpp"

namespace selenite {
namespace {

template <class T>
struct BackwardArguments {
  RowsOf<T const> x, dy, residual;  ///< residual null: none
  RowsOf<T> dx;
  T const* weight;
  float const *mean, *rstd;  ///< mean null: RMSNorm
  int features;
  float inverse_features;
};

/// The two averages that dx needs.
struct TwoSums {
  float g, g_xhat;
};
/// The sums of each warp, zero for those that the block does not have.
using WarpSums = SharedArray<float, 2 * most_warps>;
__device__ inline void clear(WarpSums& sums) {
  for (int i = static_cast<int>(threadIdx.x); i < 2 * most_warps; i += static_cast<int>(blockDim.x)) sums[i] = 0;
}
/// Over the block's threads, with one barrier; each half of a warp adds one of the two. Between two of them with the
/// same `shared` lies a barrier.
__device__ inline TwoSums block_sums(TwoSums v, WarpSums& shared) {
  int const thread = static_cast<int>(threadIdx.x), lane = thread % warp_size;
  bool const second = lane >= warp_size / 2;
  float sum = (second ? v.g_xhat : v.g) + shuffle_xor(second ? v.g : v.g_xhat, warp_size / 2);
  auto const add_half = [&] {
#pragma unroll
    for (int lanes = warp_size / 4; lanes > 0; lanes /= 2) sum += shuffle_xor(sum, lanes);
  };
  add_half();
  if (lane % (warp_size / 2) == 0) shared[thread / warp_size + (second ? most_warps : 0)] = sum;
  __syncthreads();
  int const place = lane % (warp_size / 2) + (second ? most_warps : 0);
  sum = shared[place];
  if (blockDim.x > warp_size * most_warps / 2) sum += shared[place + most_warps / 2];
  add_half();
  return {__shfl_sync(0xffffffffu, sum, 0), __shfl_sync(0xffffffffu, sum, warp_size / 2)};
}

/// What is the same for all elements of a row; xhat = x * rstd + shift.
struct RowFacts {
  float rstd, shift, average, average_xhat;
};
__device__ inline RowFacts row_facts(float mean, float rstd) { return {rstd, -mean * rstd, 0, 0}; }

/// dx of one pack: (g - average - xhat * average_xhat) * rstd + residual, where g = dy * weight.
template <int width, class T>
__device__ void store_dx(T* dx, FloatPack<width> const& x, FloatPack<width> const& dy, FloatPack<width> const& weight,
                         FloatPack<width> const& residual, RowFacts const& f) {
  FloatPack<width> v;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    float const xhat = fmaf(x.at[i], f.rstd, f.shift), g = fmaf(dy.at[i], weight.at[i], -f.average);
    v.at[i] = fmaf(fmaf(-xhat, f.average_xhat, g), f.rstd, residual.at[i]);
  }
  store_floats<width>(dx, v);
}
/// Zero where there is none.
template <int width, class T>
__device__ RawPack<T, width> load_residual(BackwardArguments<T> const& a, std::int64_t t, int column) {
  return a.residual.data ? load_raw<width>(a.residual[t] + column) : RawPack<T, width>{};
}

/// A pack's part of the averages, of dweight and of dbias.
template <int width>
__device__ void add_terms(FloatPack<width> const& x, FloatPack<width> const& dy, FloatPack<width> const& weight,
                          RowFacts const& f, TwoSums& sums, FloatPack<width>& dweight, FloatPack<width>& dbias) {
#pragma unroll
  for (int i = 0; i < width; ++i) {
    float const xhat = fmaf(x.at[i], f.rstd, f.shift), g = dy.at[i] * weight.at[i];
    sums.g += g, sums.g_xhat = fmaf(g, xhat, sums.g_xhat);
    dweight.at[i] = fmaf(dy.at[i], xhat, dweight.at[i]), dbias.at[i] += dy.at[i];
  }
}
template <class T>
__device__ void average(RowFacts& f, TwoSums sums, BackwardArguments<T> const& a) {
  f.average = a.mean ? sums.g * a.inverse_features : 0.0f;
  f.average_xhat = sums.g_xhat * a.inverse_features;
}

/// What a thread reads of a token; `ahead`: the residual, too.
template <class T, int width, int held, bool ahead>
struct TokenPart {
  RawPack<T, width> x[held], dy[held], residual[ahead ? held : 1];

  __device__ void load(BackwardArguments<T> const& a, std::int64_t t, int column, int step) {
#pragma unroll
    for (int k = 0; k < held; ++k) {
      int const c = column + k * step;
      if (c >= a.features) continue;
      x[k] = load_raw<width>(a.x[t] + c), dy[k] = load_raw<width>(a.dy[t] + c);
      if constexpr (ahead) residual[k] = load_residual<width>(a, t, c);
    }
  }
};

/// mean and rstd of a block's tokens, a warp's worth at a time, a token a lane. By a load for each token, which is the
/// same in all threads, the compiler has them in uniform registers, and waits for them before all other loads.
struct RowStatistics {
  float mean = 0, rstd = 0;

  template <class T>
  __device__ RowFacts of(BackwardArguments<T> const& a, std::int64_t first, int token, int count) {
    int const place = token % warp_size, mine = token + static_cast<int>(threadIdx.x) % warp_size;
    if (place == 0 && mine < count) mean = a.mean ? a.mean[first + mine] : 0, rstd = a.rstd[first + mine];
    return row_facts(__shfl_sync(0xffffffffu, mean, place), __shfl_sync(0xffffffffu, rstd, place));
  }
};

/// One block of threads a block of tokens: x and dy are read once. A thread has the same columns of all its tokens, so
/// that dweight and dbias add up in registers; partials: fp32 [blocks, 2, features].
template <class T, int width, int held>
__global__ void __launch_bounds__(held == 1 ? 1024 : 512)
    fused_kernel(BackwardArguments<T> a, std::int64_t tokens, std::int64_t tokens_a_block, float* partials) {
  __shared__ WarpSums shared[2];  // in turn: one barrier a token
  std::int64_t const first = blockIdx.x * tokens_a_block, rest = tokens - first;
  int const count = static_cast<int>(rest < tokens_a_block ? rest : tokens_a_block);
  int const step = static_cast<int>(blockDim.x) * width, column = static_cast<int>(threadIdx.x) * width;
  FloatPack<width> dweight[held] = {}, dbias[held] = {};
  // where registers allow, the next token is on its way while this one is computed with
  constexpr bool ahead = held == 1;
  using Part = TokenPart<T, width, held, ahead>;
  Part now{};
  RowStatistics statistics;
  clear(shared[0]), clear(shared[1]);
  __syncthreads();
  if (ahead && count > 0) now.load(a, first, column, step);
#pragma unroll(ahead ? 2 : 1)
  for (int token = 0; token < count; ++token) {
    std::int64_t const t = first + token;
    Part next;
    if constexpr (!ahead) now.load(a, t, column, step);
    if (ahead && token + 1 < count) next.load(a, t + 1, column, step);
    RowFacts facts = statistics.of(a, first, token, count);
    TwoSums sums{0, 0};
#pragma unroll
    for (int k = 0; k < held; ++k) {
      int const c = column + k * step;
      if (c < a.features)
        add_terms<width>(widen(now.x[k]), widen(now.dy[k]), load_floats<width>(a.weight + c), facts, sums, dweight[k],
                         dbias[k]);
    }
    average(facts, block_sums(sums, shared[token % 2]), a);
#pragma unroll
    for (int k = 0; k < held; ++k) {
      int const c = column + k * step;
      if (c >= a.features) continue;
      if constexpr (!ahead) now.residual[0] = load_residual<width>(a, t, c);
      store_dx<width>(a.dx[t] + c, widen(now.x[k]), widen(now.dy[k]), load_floats<width>(a.weight + c),
                      widen(now.residual[ahead ? k : 0]), facts);
    }
    if constexpr (ahead) now = next;
  }
  float* const mine = partials + blockIdx.x * std::int64_t{2} * a.features;
#pragma unroll
  for (int k = 0; k < held; ++k) {
    int const c = column + k * step;
    if (c < a.features) store_pack<width>(mine + c, dweight[k]), store_pack<width>(mine + a.features + c, dbias[k]);
  }
}

/// Terms of dweight and dbias, where they are summed apart.
template <class T>
struct ParameterTerms {
  static constexpr int outputs = 2;
  BackwardArguments<T> a;
  template <int width>
  __device__ void add(std::int64_t t, std::int64_t column, FloatPack<width> (&sums)[outputs]) const {
    float const mean = a.mean ? a.mean[t] : 0, rstd = a.rstd[t];
    FloatPack<width> const x = load_floats<width>(a.x[t] + column), dy = load_floats<width>(a.dy[t] + column);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      sums[0].at[i] += dy.at[i] * ((x.at[i] - mean) * rstd);
      sums[1].at[i] += dy.at[i];
    }
  }
};

/// dx alone, for any row; one block a row.
template <class T, int width>
__global__ void __launch_bounds__(512) dx_kernel(BackwardArguments<T> a) {
  __shared__ WarpSums shared;
  clear(shared);
  __syncthreads();
  std::int64_t const t = blockIdx.x;
  RowFacts facts = row_facts(a.mean ? a.mean[t] : 0, a.rstd[t]);
  BlockRow<T, width, 0> const row(a.x[t], a.features);
  TwoSums sums{0, 0};
  FloatPack<width> dweight{}, dbias{};  // not used
  row.for_each([&](int column, FloatPack<width> const& x) {
    add_terms<width>(x, load_floats<width>(a.dy[t] + column), load_floats<width>(a.weight + column), facts, sums,
                     dweight, dbias);
  });
  average(facts, block_sums(sums, shared), a);
  row.for_each([&](int column, FloatPack<width> const& x) {
    store_dx<width>(a.dx[t] + column, x, load_floats<width>(a.dy[t] + column), load_floats<width>(a.weight + column),
                    widen(load_residual<width>(a, t, column)), facts);
  });
}

/// How the two gradients' partial sums lie in the workspace.
struct Partials {
  float* data;
  ColumnBlocks blocks;
};

template <class T>
void launch_backward(Cuda& cuda, NormBackward const& op, Partials& partials) {
  constexpr int width = full_width<T>;
  std::int64_t const n = op.x.cols(), tokens = op.x.rows(), packs = n / width;
  BackwardArguments<T> const a{
      rows_of<T const>(op.x),        rows_of<T const>(op.dy),
      rows_of<T const>(op.residual), rows_of<T>(op.dx),
      data_of<T const>(op.weight),   op.subtract_mean ? data_of<float const>(op.mean) : nullptr,
      data_of<float const>(op.rstd), static_cast<int>(n),
      1.0f / static_cast<float>(n)};
  bool const whole = n % width == 0 && rows_take(width, op.x, op.dy, op.residual, op.dx, op.weight);
  // no more blocks than run at a time, 1024 or 512 threads a multiprocessor: a second round would be half empty
  auto fused = [&](unsigned threads, unsigned at_a_time, auto kernel) {
    std::int64_t const running = cuda.device.multiprocessors * static_cast<std::int64_t>(at_a_time / threads);
    partials.blocks = column_blocks(tokens, std::min(partials.blocks.count(), running));
    launch_kernel(cuda, {grid_size(partials.blocks.count()), threads}, kernel, a, tokens, partials.blocks.rows_a_block,
                  partials.data);
  };
  if (whole && packs <= 1024) return fused(whole_warps(packs), 1024, fused_kernel<T, width, 1>);
  if (whole && packs <= 2048)
    return fused(whole_warps(divide_up(packs, 4)), 512, fused_kernel<T, width, 4>);  // 128 registers
  // dx may lie over dy: the gradients that read dy come first
  column_sums<width>(cuda, ParameterTerms<T>{a}, partials.blocks, n, whole, partials.data);
  unsigned const rows = grid_size(tokens);
  if (whole)
    launch_kernel(cuda, {rows, 512u}, dx_kernel<T, width>, a);
  else
    launch_kernel(cuda, {rows, whole_warps(n < 256 ? n : 256)}, dx_kernel<T, 1>, a);
}

}  // namespace

void launch(Cuda& cuda, NormBackward const& op) {
  std::int64_t const n = op.x.cols(), tokens = op.x.rows();
  if (tokens == 0) return;
  Partials partials{reinterpret_cast<float*>(cuda.workspace.data()), column_blocks(tokens, partial_sums(op))};
  EXPECTS(static_cast<std::int64_t>(cuda.workspace.size()) >= 2 * partials.blocks.count() * n * 4);
  visit_device_float(op.x.dtype(), [&]<class T>(T) { launch_backward<T>(cuda, op, partials); });
  std::int64_t const count = partials.blocks.count();
  add_partials(cuda, partials.data, count, 2 * n, data_of<float>(op.dweight), n, true);
  if (op.dbias.defined()) add_partials(cuda, partials.data + n, count, 2 * n, data_of<float>(op.dbias), n, true);
}

}  // namespace selenite
