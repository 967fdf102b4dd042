#include "kernels/cuda/map.cuh"
#include "kernels/embedding/embedding.hpp"

namespace selenite {
namespace {

template <class T>
struct LookUpBody {
  RowsOf<T const> table, position_table;  ///< position_table null: none
  RowsOf<T> y;
  std::int32_t const *ids, *positions;
  std::int64_t first_row, table_rows;
  template <int width>
  __device__ void apply(std::int64_t row, std::int64_t col) const {
    std::int64_t const id = ids[row] - first_row;
    bool const here = id >= 0 && id < table_rows;
    Pack<T, width> v = {};
    if (here) v = load_pack<width>(table[id] + col);
    if (position_table.data) {
      FloatPack<width> sum = load_floats<width>(position_table[positions[row]] + col);
      FloatPack<width> const token = widen(v);
#pragma unroll
      for (int i = 0; i < width; ++i) sum.at[i] += token.at[i];
      return store_floats<width>(y[row] + col, sum);
    }
    store_pack<width>(y[row] + col, v);  // the table's own bits
  }
};

constexpr int threads = 256, listed = 1024;  // tokens of one row that are added at a time

template <class T>
struct AddRowsArguments {
  RowsOf<T const> dy;
  std::int32_t const* ids;
  RowsOf<float> table;
  std::int64_t first_row, table_rows, tokens;
  int features;
};

/// table[row] += dy of the listed tokens, in the order of the list.
template <int width, class T>
__device__ void add_listed(AddRowsArguments<T> const& a, float* row, SharedArray<std::int32_t, listed>& list,
                           int count) {
  for (int c = static_cast<int>(threadIdx.x) * width; c < a.features; c += threads * width) {
    FloatPack<width> sum = load_floats<width>(row + c);
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
      FloatPack<width> const dy = load_floats<width>(a.dy[list[i]] + c);
#pragma unroll
      for (int k = 0; k < width; ++k) sum.at[k] += dy.at[k];
    }
    store_pack<width>(row + c, sum);
  }
}

/// No atomics: a block a token, and the block of an id's first token adds all tokens of that id in token order. It
/// finds them by reading the ids, which are few and in the cache.
template <class T, int width>
__global__ void __launch_bounds__(threads) add_rows_kernel(AddRowsArguments<T> a) {
  __shared__ SharedArray<std::int32_t, listed> list;
  __shared__ SharedArray<int, threads / warp_size> found;  // by each warp
  std::int64_t const t = blockIdx.x;
  std::int32_t const id = a.ids[t];
  int const thread = static_cast<int>(threadIdx.x), warp = thread / warp_size;
  if (id < a.first_row || id - a.first_row >= a.table_rows) return;
  int earlier = 0;
  for (std::int64_t i = thread; i < t && !earlier; i += threads) earlier = a.ids[i] == id;
  if (__syncthreads_or(earlier)) return;
  float* const row = a.table[id - a.first_row];
  int count = 0;
  for (std::int64_t first = t; first < a.tokens; first += threads) {
    bool const same = first + thread < a.tokens && a.ids[first + thread] == id;
    unsigned const mask = __ballot_sync(0xffffffffu, same);
    if (thread % warp_size == 0) found[warp] = __popc(mask);
    __syncthreads();
    int place = count + __popc(mask & ((1u << thread % warp_size) - 1u));
    for (int w = 0; w < threads / warp_size; ++w) {
      if (w < warp) place += found[w];
      count += found[w];
    }
    if (same) list[place] = static_cast<std::int32_t>(first + thread);
    __syncthreads();
    if (count + threads <= listed && first + threads < a.tokens) continue;
    add_listed<width>(a, row, list, count);
    count = 0;
    __syncthreads();  // before the list is written again
  }
}

template <class T>
void add_rows(Cuda const& cuda, EmbeddingBackward const& op, Tensor const& table, Tensor const& ids,
              std::int64_t first_row) {
  constexpr int width = full_width<T>;
  AddRowsArguments<T> const a{rows_of<T const>(op.dy),
                              data_of<std::int32_t const>(ids),
                              rows_of<float>(table),
                              first_row,
                              table.rows(),
                              op.dy.rows(),
                              static_cast<int>(op.dy.cols())};
  bool const packs = op.dy.cols() % width == 0 && rows_take(width, op.dy, table);
  launch_kernel(cuda, {grid_size(a.tokens), static_cast<unsigned>(threads)},
                packs ? add_rows_kernel<T, width> : add_rows_kernel<T, 1>, a);
}

}  // namespace

void launch(Cuda& cuda, Embedding const& op) {
  visit_device_float(op.y.dtype(), [&]<class T>(T) {
    LookUpBody<T> const body{rows_of<T const>(op.table),
                             rows_of<T const>(op.position_table),
                             rows_of<T>(op.y),
                             data_of<std::int32_t const>(op.ids),
                             data_of<std::int32_t const>(op.positions),
                             op.first_row,
                             op.table.rows()};
    map<full_width<T>>(cuda, op.y.rows(), op.y.cols(), rows_take(full_width<T>, op.y, op.table, op.position_table),
                       body);
  });
}

void launch(Cuda& cuda, EmbeddingBackward const& op) {
  visit_device_float(op.dy.dtype(), [&]<class T>(T) {
    if (op.dtable.defined()) add_rows<T>(cuda, op, op.dtable, op.ids, op.first_row);
    if (op.dposition_table.defined()) add_rows<T>(cuda, op, op.dposition_table, op.positions, 0);
  });
}

}  // namespace selenite
