#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>
#include <type_traits>

#include "core/dtype.hpp"
#include "kernels/cuda/launch.cuh"

/// Products of small matrices in shared memory by one warp: on tensor cores where elements have 16 bits, else plain
/// multiply-adds.
namespace selenite::attention_cuda {

/// How a matrix lies in memory: its element (row, col) at row * ld + col, or at col * ld + row.
enum class Stored { by_rows, by_columns };

template <class T>
struct TensorCoreElement;
template <>
struct TensorCoreElement<bf16> {
  using type = __nv_bfloat16;
};
template <>
struct TensorCoreElement<fp16> {
  using type = __half;
};

/// rows x cols sums in fp32, spread over the registers of a warp. All lanes call everything together; which lane has
/// which sum is known here alone. Addresses of tiles are multiples of 32 bytes, `ld` of 16 bytes.
template <class T, int rows, int cols>
class Sums {
  static constexpr int tile = 16;
  static_assert(rows % tile == 0 && cols % tile == 0);
  using Element = typename TensorCoreElement<T>::type;
  template <Stored order>
  using Layout = std::conditional_t<order == Stored::by_rows, nvcuda::wmma::row_major, nvcuda::wmma::col_major>;

 public:
  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < rows / tile; ++i)
#pragma unroll
      for (int j = 0; j < cols / tile; ++j) nvcuda::wmma::fill_fragment(sums_[i][j], 0.0f);
  }

  /// += A B, summed over `depth`.
  template <int depth, Stored a_order, Stored b_order>
  __device__ void add(T const* a, int a_ld, T const* b, int b_ld) {
    namespace wmma = nvcuda::wmma;
    auto const* const a_elements = reinterpret_cast<Element const*>(a);
    auto const* const b_elements = reinterpret_cast<Element const*>(b);
#pragma unroll 2  // of more, registers would not hold what is read ahead
    for (int k = 0; k < depth; k += tile) {
      wmma::fragment<wmma::matrix_a, tile, tile, tile, Element, Layout<a_order>> a_tiles[rows / tile];
#pragma unroll
      for (int i = 0; i < rows / tile; ++i)
        wmma::load_matrix_sync(a_tiles[i],
                               a_elements + (a_order == Stored::by_rows ? i * tile * a_ld + k : k * a_ld + i * tile),
                               static_cast<unsigned>(a_ld));
#pragma unroll
      for (int j = 0; j < cols / tile; ++j) {
        wmma::fragment<wmma::matrix_b, tile, tile, tile, Element, Layout<b_order>> b_tile;
        wmma::load_matrix_sync(b_tile,
                               b_elements + (b_order == Stored::by_rows ? k * b_ld + j * tile : j * tile * b_ld + k),
                               static_cast<unsigned>(b_ld));
#pragma unroll
        for (int i = 0; i < rows / tile; ++i) wmma::mma_sync(sums_[i][j], a_tiles[i], b_tile, sums_[i][j]);
      }
    }
  }

  /// Columns [first, first + count) to and from fp32 rows; `first` is known at compile time once loops are unrolled.
  template <int count>
  __device__ void store(int first, float* to, int ld) const {
#pragma unroll
    for (int i = 0; i < rows / tile; ++i)
#pragma unroll
      for (int j = 0; j < count / tile; ++j)
        nvcuda::wmma::store_matrix_sync(to + i * tile * ld + j * tile, sums_[i][first / tile + j],
                                        static_cast<unsigned>(ld), nvcuda::wmma::mem_row_major);
  }
  template <int count>
  __device__ void load(int first, float const* from, int ld) {
#pragma unroll
    for (int i = 0; i < rows / tile; ++i)
#pragma unroll
      for (int j = 0; j < count / tile; ++j)
        nvcuda::wmma::load_matrix_sync(sums_[i][first / tile + j], from + i * tile * ld + j * tile,
                                       static_cast<unsigned>(ld), nvcuda::wmma::mem_row_major);
  }

 private:
  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, tile, tile, tile, float> sums_[rows / tile][cols / tile];
};

/// fp32: lanes are 4 x 8, and each has every fourth row and every eighth column.
template <int rows, int cols>
class Sums<float, rows, cols> {
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

}  // namespace selenite::attention_cuda
