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
};

/// The two averages that dx needs.
struct TwoSums {
  float g, g_xhat;
};
__device__ inline TwoSums shuffle_xor(TwoSums v, int lanes) {
  return {selenite::shuffle_xor(v.g, lanes), selenite::shuffle_xor(v.g_xhat, lanes)};
}
struct AddBoth {
  __device__ TwoSums operator()(TwoSums a, TwoSums b) const { return {a.g + b.g, a.g_xhat + b.g_xhat}; }
};

/// What is the same for all elements of a row.
struct RowFacts {
  float mean, rstd, average, average_xhat;
};

/// dx of one pack, from x, dy and, if there is one, the residual's gradient.
template <int width, class T>
__device__ void store_dx(BackwardArguments<T> const& a, std::int64_t t, int column, Pack<T, width> const& x,
                         Pack<T, width> const& dy, Pack<T, width> const& residual, RowFacts const& f) {
  FloatPack<width> const weight = load_floats<width>(a.weight + column);
  FloatPack<width> v;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    float const xhat = (to_float(x.at[i]) - f.mean) * f.rstd, g = to_float(dy.at[i]) * weight.at[i];
    v.at[i] = (g - f.average - xhat * f.average_xhat) * f.rstd;
  }
  if (a.residual.data) {
#pragma unroll
    for (int i = 0; i < width; ++i) v.at[i] += to_float(residual.at[i]);
  }
  store_floats<width>(a.dx[t] + column, v);
}
template <int width, class T>
__device__ Pack<T, width> load_residual(BackwardArguments<T> const& a, std::int64_t t, int column) {
  return a.residual.data ? load_pack<width>(a.residual[t] + column) : Pack<T, width>{};
}

/// What a thread reads of a token.
template <class T, int width, int held>
struct TokenPart {
  Pack<T, width> x[held], dy[held];
  float mean, rstd;

  __device__ void load(BackwardArguments<T> const& a, std::int64_t t, int column, int step) {
    mean = a.mean ? a.mean[t] : 0, rstd = a.rstd[t];
#pragma unroll
    for (int k = 0; k < held; ++k) {
      int const c = column + k * step;
      if (c < a.features) x[k] = load_pack<width>(a.x[t] + c), dy[k] = load_pack<width>(a.dy[t] + c);
    }
  }
};

__device__ inline RowFacts row_facts(float mean, float rstd, TwoSums sums, bool subtract_mean, int features) {
  auto const n = static_cast<float>(features);
  return {mean, rstd, subtract_mean ? sums.g / n : 0.0f, sums.g_xhat / n};
}

/// One block of threads a block of tokens: x and dy are read once. A thread has the same columns of all its tokens, so
/// that dweight and dbias add up in registers; partials: fp32 [blocks, 2, features].
template <class T, int width, int held>
__global__ void __launch_bounds__(held == 1 ? 1024 : 512)
    fused_kernel(BackwardArguments<T> a, std::int64_t tokens, std::int64_t tokens_a_block, float* partials) {
  __shared__ SharedArray<TwoSums, most_warps> shared;
  std::int64_t const first = blockIdx.x * tokens_a_block;
  std::int64_t const last = first + tokens_a_block < tokens ? first + tokens_a_block : tokens;
  int const step = static_cast<int>(blockDim.x) * width, column = static_cast<int>(threadIdx.x) * width;
  FloatPack<width> dweight[held] = {}, dbias[held] = {};
  // where registers allow, the next token is on its way while this one's sums meet
  constexpr bool ahead = held == 1;
  TokenPart<T, width, held> now, next;
  if (ahead && first < last) next.load(a, first, column, step);
  for (std::int64_t t = first; t < last; ++t) {
    if constexpr (ahead) {
      now = next;
      if (t + 1 < last) next.load(a, t + 1, column, step);
    } else {
      now.load(a, t, column, step);
    }
    float const mean = now.mean, rstd = now.rstd;
    Pack<T, width> const(&x)[held] = now.x, (&dy)[held] = now.dy;
    Pack<T, width> residual{};
    if (ahead && column < a.features) residual = load_residual<width>(a, t, column);
    TwoSums sums{0, 0};
#pragma unroll
    for (int k = 0; k < held; ++k) {
      int const c = column + k * step;
      if (c >= a.features) continue;
      FloatPack<width> const weight = load_floats<width>(a.weight + c);
#pragma unroll
      for (int i = 0; i < width; ++i) {
        float const xhat = (to_float(x[k].at[i]) - mean) * rstd, d = to_float(dy[k].at[i]), g = d * weight.at[i];
        sums.g += g, sums.g_xhat += g * xhat;
        dweight[k].at[i] += d * xhat, dbias[k].at[i] += d;
      }
    }
    sums = block_reduce(sums, TwoSums{0, 0}, AddBoth{}, shared);
    RowFacts const facts = row_facts(mean, rstd, sums, a.mean != nullptr, a.features);
#pragma unroll
    for (int k = 0; k < held; ++k) {
      int const c = column + k * step;
      if (c >= a.features) continue;
      if constexpr (!ahead) residual = load_residual<width>(a, t, c);
      store_dx<width>(a, t, c, x[k], dy[k], residual, facts);
    }
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
  __shared__ SharedArray<TwoSums, most_warps> shared;
  std::int64_t const t = blockIdx.x;
  float const mean = a.mean ? a.mean[t] : 0, rstd = a.rstd[t];
  BlockRow<T, width, 0> const x(a.x[t], a.features);
  TwoSums sums{0, 0};
  x.for_each([&](int column, Pack<T, width> const& pack) {
    FloatPack<width> const weight = load_floats<width>(a.weight + column), dy = load_floats<width>(a.dy[t] + column);
#pragma unroll
    for (int i = 0; i < width; ++i) {
      float const g = dy.at[i] * weight.at[i];
      sums.g += g, sums.g_xhat += g * ((to_float(pack.at[i]) - mean) * rstd);
    }
  });
  sums = block_reduce(sums, TwoSums{0, 0}, AddBoth{}, shared);
  RowFacts const facts = row_facts(mean, rstd, sums, a.mean != nullptr, a.features);
  x.for_each([&](int column, Pack<T, width> const& pack) {
    store_dx<width>(a, t, column, pack, load_pack<width>(a.dy[t] + column), load_residual<width>(a, t, column), facts);
  });
}

/// How the two gradients' partial sums lie in the workspace.
struct Partials {
  float* data;
  ColumnBlocks blocks;
};

template <class T>
void launch_backward(Cuda& cuda, NormBackward const& op, Partials const& partials) {
  constexpr int width = full_width<T>;
  std::int64_t const n = op.x.cols(), tokens = op.x.rows(), packs = n / width;
  BackwardArguments<T> const a{
      rows_of<T const>(op.x),        rows_of<T const>(op.dy),
      rows_of<T const>(op.residual), rows_of<T>(op.dx),
      data_of<T const>(op.weight),   op.subtract_mean ? data_of<float const>(op.mean) : nullptr,
      data_of<float const>(op.rstd), static_cast<int>(n)};
  bool const whole = n % width == 0 && rows_take(width, op.x, op.dy, op.residual, op.dx, op.weight);
  unsigned const blocks = grid_size(partials.blocks.count());
  auto fused = [&](unsigned threads, auto kernel) {
    launch_kernel(cuda, {blocks, threads}, kernel, a, tokens, partials.blocks.rows_a_block, partials.data);
  };
  if (whole && packs <= 1024) return fused(whole_warps(packs), fused_kernel<T, width, 1>);
  if (whole && packs <= 2048)
    return fused(whole_warps(divide_up(packs, 4)), fused_kernel<T, width, 4>);  // 128 registers
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
  Partials const partials{reinterpret_cast<float*>(cuda.workspace.data()), column_blocks(tokens, partial_sums(op))};
  EXPECTS(static_cast<std::int64_t>(cuda.workspace.size()) >= 2 * partials.blocks.count() * n * 4);
  visit_device_float(op.x.dtype(), [&]<class T>(T) { launch_backward<T>(cuda, op, partials); });
  std::int64_t const count = partials.blocks.count();
  add_partials(cuda, partials.data, count, 2 * n, data_of<float>(op.dweight), n, true);
  if (op.dbias.defined()) add_partials(cuda, partials.data + n, count, 2 * n, data_of<float>(op.dbias), n, true);
}

}  // namespace selenite
