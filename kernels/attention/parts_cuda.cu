#include <limits>

#include "kernels/attention/parts_cuda.hpp"
#include "kernels/cuda/map.cuh"
#include "kernels/cuda/reduce.cuh"

namespace selenite {
namespace {

/// Where a row of a part lies in it; negative: it is not there.
struct DevicePart {
  std::int64_t length, first, count;
  __device__ std::int64_t row(std::int64_t whole) const {
    std::int64_t const sample = whole / length, i = whole % length - first;
    return i >= 0 && i < count ? sample * count + i : -1;
  }
};
DevicePart device_part(TokenPart const& p) { return {p.length, p.first, p.count}; }

/// Two results over different keys, weighted by their sums of exponentials.
template <class T, class Out>
struct MergeBody {
  RowsOf<T const> part;
  RowsOf<Out> out;
  float const *part_lse, *lse;
  DevicePart queries;
  std::int64_t heads, head_dim;
  bool merge;

  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    std::int64_t const head = col / head_dim, sample = row / queries.length, query = row % queries.length,
                       from = queries.row(row);
    float const here = from < 0 ? -infinity : part_lse[(sample * heads + head) * queries.count + query - queries.first],
                there = merge ? lse[(sample * heads + head) * queries.length + query] : -infinity,
                top = fmaxf(here, there);
    FloatPack<width> x{};
    if (top > -infinity) {
      float const a = expf(here - top), b = expf(there - top), sum = a + b;
      if (merge && b > 0) {
        FloatPack<width> const old = load_floats<width>(out[row] + col);
#pragma unroll
        for (int i = 0; i < width; ++i) x.at[i] = old.at[i] * (b / sum);
      }
      if (a > 0) {
        FloatPack<width> const mine = load_floats<width>(part[from] + col);
#pragma unroll
        for (int i = 0; i < width; ++i) x.at[i] = fmaf(mine.at[i], a / sum, x.at[i]);
      }
    }
    store_floats<width>(out[row] + col, x);
  }
};

/// The logsumexp of the two, after the outputs have been merged by it.
struct MergeStatisticsBody {
  float const* part;
  float* lse;
  DevicePart queries;
  bool merge;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    constexpr float infinity = std::numeric_limits<float>::infinity();
#pragma unroll
    for (int i = 0; i < width; ++i) {
      std::int64_t const at = row * queries.length + col + i, from = col + i - queries.first;
      float const here = from >= 0 && from < queries.count ? part[row * queries.count + from] : -infinity,
                  there = merge ? lse[at] : -infinity, top = fmaxf(here, there);
      lse[at] = top > -infinity ? top + logf(expf(here - top) + expf(there - top)) : -infinity;
    }
  }
};

template <class T, class To>
struct AddBody {
  RowsOf<T const> part;
  RowsOf<To> to;
  DevicePart tokens;
  bool added;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    std::int64_t const from = tokens.row(row);
    if (from < 0 && added) return;
    FloatPack<width> x{};
    if (added) x = load_floats<width>(to[row] + col);
    if (from >= 0) {
      FloatPack<width> const mine = load_floats<width>(part[from] + col);
#pragma unroll
      for (int i = 0; i < width; ++i) x.at[i] += mine.at[i];
    }
    store_floats<width>(to[row] + col, x);
  }
};

struct GatherBody {
  float const* from;
  float* to;
  DevicePart queries;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
#pragma unroll
    for (int i = 0; i < width; ++i)
      to[row * queries.count + col + i] = from[row * queries.length + queries.first + col + i];
  }
};

/// f with a value of each tensor's element type; the part is in 16 bits.
template <class F>
void visit_both(Tensor const& part, Tensor const& whole, F&& f) {
  visit_device_float(part.dtype(), [&]<class T>(T element) {
    whole.dtype() == DType::fp32 ? f(element, float{}) : f(element, element);
  });
}

constexpr int delta_threads = 256;

/// delta[row, head] = the sum of dout * out over a head; a block a row. `lanes`, a power of two, share a head, a pack
/// each, or an element each at a time.
template <bool packs, class T, class Out>
__global__ void __launch_bounds__(delta_threads) delta_kernel(RowsOf<T const> dout, RowsOf<Out const> out, float* delta,
                                                              int queries, int heads, int head_dim, int lanes) {
  constexpr int width = packs ? full_width<T> : 1;
  auto const row = static_cast<std::int64_t>(blockIdx.x);
  int const slots = heads * lanes, all = (slots + warp_size - 1) / warp_size * warp_size;
  for (int slot = static_cast<int>(threadIdx.x); slot < all; slot += delta_threads) {
    int const head = slot / lanes, col = head * head_dim;
    float sum = 0;
    for (int i = slot % lanes * width; i < head_dim && head < heads; i += lanes * width) {
      FloatPack<width> const a = load_floats<width>(dout[row] + col + i), b = load_floats<width>(out[row] + col + i);
#pragma unroll
      for (int l = 0; l < width; ++l) sum = fmaf(a.at[l], b.at[l], sum);
    }
    for (int n = lanes / 2; n > 0; n /= 2) sum += shuffle_xor(sum, n);
    if (slot % lanes == 0 && head < heads) delta[(row / queries * heads + head) * queries + row % queries] = sum;
  }
}

}  // namespace

void make_delta(Cuda const& cuda, AttentionBackward const& op) {
  AttentionShape const& s = op.shape;
  auto launch_with = [&]<class T, class Out>(T, Out) {
    constexpr int width = full_width<T>;
    bool const packs = rows_take(width, op.dout, op.out) && s.head_dim % width == 0;
    int lanes = 1;
    while (lanes < warp_size && lanes * (packs ? width : 1) < s.head_dim) lanes *= 2;
    launch_kernel(cuda, {grid_size(op.q.rows()), delta_threads},
                  packs ? delta_kernel<true, T, Out> : delta_kernel<false, T, Out>, rows_of<T const>(op.dout),
                  rows_of<Out const>(op.out), data_of<float>(op.delta), static_cast<int>(s.queries),
                  static_cast<int>(s.heads), static_cast<int>(s.head_dim), lanes);
  };
  visit_device_float(op.q.dtype(), [&]<class T>(T element) {
    op.out.dtype() == DType::fp32 ? launch_with(element, float{}) : launch_with(element, element);
  });
}

void merge_part(Cuda const& cuda, Attention const& op, TokenPart const& queries, Tensor const& out,
                Tensor const& logsumexp) {
  AttentionShape const& s = op.shape;
  visit_both(out, op.out, [&]<class T, class Out>(T, Out) {
    constexpr int width = full_width<T>;
    MergeBody<T, Out> const body{rows_of<T const>(out),
                                 rows_of<Out>(op.out),
                                 data_of<float const>(logsumexp),
                                 data_of<float const>(op.logsumexp),
                                 device_part(queries),
                                 s.heads,
                                 s.head_dim,
                                 op.merge};
    map<width>(cuda, op.out.rows(), op.out.cols(), rows_take(width, out, op.out) && s.head_dim % width == 0, body);
  });
  map<1>(cuda, s.samples * s.heads, s.queries, false,
         MergeStatisticsBody{data_of<float const>(logsumexp), data_of<float>(op.logsumexp), device_part(queries),
                             op.merge});
}

void add_part(Cuda const& cuda, TokenPart const& tokens, Tensor const& part, Tensor const& to, bool added) {
  visit_both(part, to, [&]<class T, class To>(T, To) {
    constexpr int width = full_width<T>;
    map<width>(cuda, to.rows(), to.cols(), rows_take(width, part, to),
               AddBody<T, To>{rows_of<T const>(part), rows_of<To>(to), device_part(tokens), added});
  });
}

void gather_part(Cuda const& cuda, TokenPart const& queries, Tensor const& from, Tensor const& to) {
  map<1>(cuda, to.count() / queries.count, queries.count, false,
         GatherBody{data_of<float const>(from), data_of<float>(to), device_part(queries)});
}

}  // namespace selenite
