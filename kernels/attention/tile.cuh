#pragma once
#include "kernels/attention/block.cuh"

/// Products of small matrices in shared memory by one warp, in fp32 throughout: plain multiply-adds.
namespace selenite::attention_cuda {

/// How a matrix lies in memory: its element (row, col) at row * ld + col, or at col * ld + row.
enum class Stored { by_rows, by_columns };

/// rows x cols sums, spread over the registers of a warp: lanes are 4 x 8, and each has every fourth row and every
/// eighth column. All lanes call everything together; which lane has which sum is known here alone.
template <int rows, int cols>
class Sums {
  static constexpr int down = 4, across = 8;
  static_assert(rows % down == 0 && cols % across == 0);

 public:
  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < rows / down; ++i)
#pragma unroll
      for (int j = 0; j < cols / across; ++j) sums_[i][j] = 0;
  }

  template <int depth, Stored a_order, Stored b_order>
  __device__ void add(float const* a, int a_ld, float const* b, int b_ld) {
#pragma unroll 4
    for (int k = 0; k < depth; ++k) {
      float a_values[rows / down];
#pragma unroll
      for (int i = 0; i < rows / down; ++i) a_values[i] = a[at<a_order>(row(i), k, a_ld)];
#pragma unroll
      for (int j = 0; j < cols / across; ++j) {
        float const b_value = b[at<b_order>(k, col(j), b_ld)];
#pragma unroll
        for (int i = 0; i < rows / down; ++i) sums_[i][j] = fmaf(a_values[i], b_value, sums_[i][j]);
      }
    }
  }

  template <int count>
  __device__ void store(int first, float* to, int ld) const {
#pragma unroll
    for (int i = 0; i < rows / down; ++i)
#pragma unroll
      for (int j = 0; j < count / across; ++j) to[row(i) * ld + col(j)] = sums_[i][first / across + j];
  }
  template <int count>
  __device__ void load(int first, float const* from, int ld) {
#pragma unroll
    for (int i = 0; i < rows / down; ++i)
#pragma unroll
      for (int j = 0; j < count / across; ++j) sums_[i][first / across + j] = from[row(i) * ld + col(j)];
  }

 private:
  template <Stored order>
  static __device__ int at(int row, int col, int ld) {
    return order == Stored::by_rows ? row * ld + col : col * ld + row;
  }
  static __device__ int row(int i) { return static_cast<int>(threadIdx.x) % warp_size / across + i * down; }
  static __device__ int col(int j) { return static_cast<int>(threadIdx.x) % across + j * across; }

  float sums_[rows / down][cols / across];
};

/// One warp's scores, [query][key]. A lane has whole rows, or a part of one.
template <int rows_, int keys_>
struct Scores {
  static constexpr int rows = rows_, keys = keys_, ld = keys + 4, floats = rows * ld;
  static constexpr int sharing = rows < warp_size ? warp_size / rows : 1;  ///< lanes that share a row
  static constexpr int lane_rows = rows * sharing / warp_size, lane_keys = keys / sharing;
  float* data;

  static __device__ int row(int i) { return lane() % rows + i * warp_size; }
  static __device__ int first_key() { return sharing > 1 ? lane() / rows * lane_keys : 0; }

  __device__ void read(int i, float (&values)[lane_keys]) const {
#pragma unroll
    for (int j = 0; j < lane_keys; j += 4) {
      FloatPack<4> const pack = load_pack<4>(data + row(i) * ld + first_key() + j);
      for (int l = 0; l < 4; ++l) values[j + l] = pack.at[l];
    }
  }
  /// The warp has read all rows.
  __device__ void write(int i, float const (&values)[lane_keys]) const {
#pragma unroll
    for (int j = 0; j < lane_keys; j += 4) {
      FloatPack<4> pack;
      for (int l = 0; l < 4; ++l) pack.at[l] = values[j + l];
      store_pack<4>(data + row(i) * ld + first_key() + j, pack);
    }
  }
};

/// As many columns as `floats` have room for, by the rows: of sums on their way through a warp's shared memory.
template <int rows, int cols, int floats>
constexpr int staged_columns() {
  int n = 64;
  while (cols % n != 0 || rows * (n + 4) > floats) n /= 2;
  return n;
}

/// body(row, col, pack) for all sums, through `stage`, which has `floats`. All lanes call the body together.
template <int floats, int rows, int cols, class Body>
__device__ void for_each_pack(Sums<rows, cols> const& sums, float* stage, Body body) {
  constexpr int staged = staged_columns<rows, cols, floats>(), ld = staged + 4, width = 4;
  static_assert(staged >= 16 && rows * staged % (width * warp_size) == 0);
#pragma unroll
  for (int first = 0; first < cols; first += staged) {
    __syncwarp();  // what was there is read
    sums.template store<staged>(first, stage, ld);
    __syncwarp();
    for (int i = lane() * width; i < rows * staged; i += warp_size * width) {
      int const row = i / staged, col = i % staged;
      body(row, first + col, load_pack<width>(stage + row * ld + col));
    }
  }
  __syncwarp();
}

/// Multiplies each row by its lane's factor; rows are at most a warp.
template <int floats, int rows, int cols>
__device__ void scale_rows(Sums<rows, cols>& sums, float* stage, float factor) {
  constexpr int staged = staged_columns<rows, cols, floats>(), ld = staged + 4, width = 4;
#pragma unroll
  for (int first = 0; first < cols; first += staged) {
    __syncwarp();
    sums.template store<staged>(first, stage, ld);
    __syncwarp();
    for (int i = lane() * width; i < rows * staged; i += warp_size * width) {
      float* const at = stage + i / staged * ld + i % staged;
      FloatPack<width> pack = load_pack<width>(at);
      float const mine = __shfl_sync(0xffffffffu, factor, i / staged);
      for (int l = 0; l < width; ++l) pack.at[l] *= mine;
      store_pack<width>(at, pack);
    }
    __syncwarp();
    sums.template load<staged>(first, stage, ld);
  }
  __syncwarp();
}

/// Calls f with the depth, as a constant, that heads of this size are filled up to.
template <class F>
void visit_depth(std::int64_t head_dim, F&& f) {
  if (head_dim <= 32) return f(std::integral_constant<int, 32>{});
  if (head_dim <= 64) return f(std::integral_constant<int, 64>{});
  if (head_dim <= 128) return f(std::integral_constant<int, 128>{});
  if (head_dim <= 256) return f(std::integral_constant<int, 256>{});
  refuse_head_dim(head_dim);
}

}  // namespace selenite::attention_cuda
