#include <algorithm>

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/embedding/embedding.hpp"

namespace selenite {
namespace {

// The tokens are listed by the row that they are added to, in token order within a row (a stable counting sort, without
// atomics between blocks); then a warp adds the tokens of a row, in that order.

struct alignas(8) Entry {
  std::int32_t token, row;
};
/// In the workspace.
struct TokenList {
  Entry* entries;
  std::int32_t* count;  ///< of those whose row is in this shard
};

struct ListArguments {
  std::int32_t const* ids;
  std::uint32_t first_row, table_rows;
  int tokens, rows_a_block;
  TokenList list;
  /// -1: of another shard.
  __device__ int row_of(int token) const {
    std::uint32_t const row = static_cast<std::uint32_t>(ids[token]) - first_row;
    return row < table_rows ? static_cast<int>(row) : -1;
  }
};

/// f(token, row) for a warp's part of the tokens, in order: a whole warp at a time, row -1 where there is no token.
template <class F>
__device__ void for_each_token(ListArguments const& a, int warp, F const& f) {
  constexpr int ahead = 8;  // loads on their way
  int const threads = static_cast<int>(blockDim.x), part = (a.tokens + threads - 1) / threads * warp_size;
  int const end = (warp + 1) * part, last = end < a.tokens ? end : a.tokens;
  int const lane = static_cast<int>(threadIdx.x) % warp_size;
  for (int first = warp * part; first < last; first += ahead * warp_size) {
    int rows[ahead];
#pragma unroll
    for (int k = 0; k < ahead; ++k) {
      int const token = first + k * warp_size + lane;
      rows[k] = token < last ? a.row_of(token) : -1;
    }
#pragma unroll
    for (int k = 0; k < ahead; ++k) f(first + k * warp_size + lane, rows[k]);
  }
}

/// The sum over the threads before this one.
__device__ inline int sum_before(int v, SharedArray<int, most_warps>& shared) {
  int const lane = static_cast<int>(threadIdx.x) % warp_size, warp = static_cast<int>(threadIdx.x) / warp_size;
  int sum = v;
#pragma unroll
  for (int lanes = 1; lanes < warp_size; lanes *= 2) {
    int const other = __shfl_sync(0xffffffffu, sum, (lane - lanes) & (warp_size - 1));
    if (lane >= lanes) sum += other;
  }
  int const of_warp = exchange_between_warps(__shfl_sync(0xffffffffu, sum, warp_size - 1), 0, shared);
  return sum - v + warp_reduce(lane < warp ? of_warp : 0, Sum{});
}

/// Where the entries of each of the block's rows begin, for each warp, in place of how many the warp has.
/// counts: [warps][rows_a_block]; `before`: entries of earlier blocks. Returns where this thread's row ends.
__device__ inline int turn_into_places(DynamicShared<int> const& counts, int rows, int before,
                                       SharedArray<int, most_warps>& shared) {
  int const row = static_cast<int>(threadIdx.x), warps = static_cast<int>(blockDim.x) / warp_size;
  int count = 0;
  if (row < rows)
    for (int w = 0; w < warps; ++w) count += counts[w * rows + row];
  int place = before + sum_before(count, shared);
  if (row < rows)
    for (int w = 0; w < warps; ++w) {
      int const here = counts[w * rows + row];
      counts[w * rows + row] = place;
      place += here;
    }
  return place;
}

/// One block for some rows; it reads the rows of all tokens, which are few and in the cache. Each warp counts the
/// entries of its part of the tokens, and writes them behind those of the warps before it.
__global__ void __launch_bounds__(1024) list_kernel(ListArguments a) {
  __shared__ SharedArray<int, most_warps> shared, sums;
  DynamicShared<int> const counts = dynamic_shared<int>();  // [warps][rows_a_block]
  int const rows = a.rows_a_block, first = static_cast<int>(blockIdx.x) * rows;
  int const thread = static_cast<int>(threadIdx.x), lane = thread % warp_size, warp = thread / warp_size;
  for (int r = lane; r < rows; r += warp_size) counts[warp * rows + r] = 0;
  __syncwarp();
  int before = 0;
  for_each_token(a, warp, [&](int, int row) {
    if (row >= first && row < first + rows) atomicAdd(&counts[warp * rows + row - first], 1);
    if (row >= 0 && row < first) ++before;
  });
  before = block_reduce_once(before, 0, Sum{}, shared);  // its barrier shows the counts, too
  int const end = turn_into_places(counts, rows, before, sums);
  if (blockIdx.x + 1 == gridDim.x && thread == rows - 1) *a.list.count = end;
  __syncthreads();
  for_each_token(a, warp, [&](int token, int row) {
    bool const here = row >= first && row < first + rows;
    for (unsigned left = __ballot_sync(0xffffffffu, here); left;) {  // a row at a time
      int const leader = __ffs(static_cast<int>(left)) - 1, its = __shfl_sync(0xffffffffu, row, leader);
      unsigned const same = __ballot_sync(0xffffffffu, here && row == its);
      int place = 0;
      if (lane == leader) place = atomicAdd(&counts[warp * rows + row - first], __popc(same));
      place = __shfl_sync(0xffffffffu, place, leader) + __popc(same & ((1u << lane) - 1u));
      if (here && row == its) a.list.entries[place] = {token, row};
      left &= ~same;
    }
  });
}

template <class T>
struct AddRowsArguments {
  RowsOf<T const> dy;
  RowsOf<float> table;
  TokenList list;
  int features;
};

constexpr int add_warps = 8;  // of a block

/// A warp's columns of the row that it adds to.
template <class T, int width>
struct OpenRow {
  FloatPack<width> sum;
  int row = -1;  ///< -1: none yet

  __device__ void close(AddRowsArguments<T> const& a, int column) const {
    if (row >= 0 && column < a.features) store_pack<width>(a.table[row] + column, sum);
  }
  /// Entries [from, to) of those that the lanes have; bit i of `heads`: entry i is the first of its row. `begins`:
  /// there are such; else all belong to the open row, and more of them are on their way at a time.
  template <bool begins>
  __device__ void add(AddRowsArguments<T> const& a, int column, Entry mine, unsigned heads, int from, int to) {
    constexpr int ahead = begins ? 8 : width * sizeof(T) <= 8 ? 16 : 8;
    bool const here = column < a.features;
    for (; from < to; from += ahead) {
      RawPack<T, width> dy[ahead];
      FloatPack<width> before[begins ? ahead : 1];
#pragma unroll
      for (int k = 0; k < ahead; ++k) {
        if (from + k >= to) continue;
        int const token = __shfl_sync(0xffffffffu, mine.token, from + k);
        if (here) dy[k] = load_raw<width>(a.dy[token] + column);
        if constexpr (begins) {
          int const its = __shfl_sync(0xffffffffu, mine.row, from + k);
          if (here && heads >> (from + k) & 1u) before[k] = load_pack<width>(a.table[its] + column);
        }
      }
#pragma unroll
      for (int k = 0; k < ahead; ++k) {
        if (from + k >= to) continue;
        if (begins && heads >> (from + k) & 1u) {
          close(a, column);
          row = __shfl_sync(0xffffffffu, mine.row, from + k), sum = before[begins ? k : 0];
        }
        FloatPack<width> const terms = widen(dy[k]);
#pragma unroll
        for (int i = 0; i < width; ++i) sum.at[i] += terms.at[i];
      }
    }
  }
};

/// A warp has the rows that begin within 32 entries, and 32 lanes' columns; block x: the columns. One row's columns lie
/// in blocks beside each other, and so on several multiprocessors, as a row may have most of the tokens.
template <class T, int width>
__global__ void __launch_bounds__(add_warps* warp_size, 2) add_rows_kernel(AddRowsArguments<T> a) {
  int const thread = static_cast<int>(threadIdx.x), lane = thread % warp_size;
  int const column = (static_cast<int>(blockIdx.x) * warp_size + lane) * width, count = *a.list.count;
  int const begin = (static_cast<int>(blockIdx.y) * add_warps + thread / warp_size) * warp_size;
  OpenRow<T, width> open{};
  int before = begin > 0 && begin < count ? a.list.entries[begin - 1].row : -1;
  for (int first = begin; first < count; first += warp_size) {
    Entry const mine = first + lane < count ? a.list.entries[first + lane] : Entry{0, -1};
    int const left = __shfl_sync(0xffffffffu, mine.row, (lane - 1) & (warp_size - 1));
    unsigned const heads = __ballot_sync(0xffffffffu, mine.row != (lane == 0 ? before : left));
    before = __shfl_sync(0xffffffffu, mine.row, warp_size - 1);
    int const head = heads ? __ffs(static_cast<int>(heads)) - 1 : warp_size;
    int const last = count - first < warp_size ? count - first : warp_size;
    if (first == begin) {
      open.template add<true>(a, column, mine, heads, head, last);
    } else {  // the rest of the last row
      open.template add<false>(a, column, mine, 0, 0, head < last ? head : last);
    }
    if (open.row < 0 || (first > begin && head < warp_size)) break;
  }
  open.close(a, column);
}

/// 32 warps and 128 blocks, or fewer for few tokens; a block has a thread for each of its rows, and counters that any
/// device's shared memory holds.
void launch_list(Cuda const& cuda, ListArguments a) {
  constexpr std::int64_t most_counters = (48 << 10) / sizeof(int);
  std::int64_t const warps = std::clamp<std::int64_t>(divide_up(a.tokens, 256), 1, most_warps),
                     blocks = std::clamp<std::int64_t>(divide_up(a.tokens, 256), 1, 128),
                     rows = std::min({divide_up(a.table_rows, blocks), warps * warp_size, most_counters / warps});
  a.rows_a_block = static_cast<int>(rows);
  launch_kernel(cuda,
                {grid_size(divide_up(a.table_rows, rows)), whole_warps(warps * warp_size),
                 static_cast<std::size_t>(warps * rows) * sizeof(int)},
                list_kernel, a);
}

/// As many tokens at a time as the workspace has entries for: the sums have the same order, whatever their number.
template <class T>
void add_rows(Cuda const& cuda, EmbeddingBackward const& op, Tensor const& table, Tensor const& ids,
              std::int64_t first_row) {
  constexpr int width = 4;
  std::int64_t const rows = table.rows(), tokens = rows > 0 ? op.dy.rows() : 0;
  std::int64_t const most = static_cast<std::int64_t>(cuda.workspace.size() / sizeof(Entry)) - 1;
  validate(most > 0, "The gradient of an embedding needs ", 2 * sizeof(Entry),
           " bytes of workspace and more (it lists ", "its tokens there), but has ", cuda.workspace.size(),
           ". Raise run.workspace.");
  auto* const entries = reinterpret_cast<Entry*>(cuda.workspace.data());
  TokenList const list{entries + 1, &entries->token};
  bool const packs = op.dy.cols() % width == 0 && rows_take(width, op.dy, table);
  for (std::int64_t first = 0; first < tokens; first += most) {
    std::int64_t const count = std::min(most, tokens - first);
    launch_list(cuda, {data_of<std::int32_t const>(ids) + first, static_cast<std::uint32_t>(first_row),
                       static_cast<std::uint32_t>(rows), static_cast<int>(count), 0, list});
    AddRowsArguments<T> const a{rows_of<T const>(op.dy.row_range(first, count)), rows_of<float>(table), list,
                                static_cast<int>(op.dy.cols())};
    dim3 const blocks(grid_size(divide_up(a.features, warp_size * (packs ? width : 1))),
                      grid_size(divide_up(count, add_warps * warp_size)));
    launch_kernel(cuda, {blocks, static_cast<unsigned>(add_warps * warp_size)},
                  packs ? add_rows_kernel<T, width> : add_rows_kernel<T, 1>, a);
  }
}

}  // namespace

void launch(Cuda& cuda, EmbeddingBackward const& op) {
  visit_device_float(op.dy.dtype(), [&]<class T>(T) {
    if (op.dtable.defined()) add_rows<T>(cuda, op, op.dtable, op.ids, op.first_row);
    if (op.dposition_table.defined()) add_rows<T>(cuda, op, op.dposition_table, op.positions, 0);
  });
}

}  // namespace selenite
