#include "kernels/cuda/column_sums.cuh"
#include "kernels/gemm/gemm.hpp"

namespace selenite {
namespace {

template <class T>
struct RowTerms {
  static constexpr int outputs = 1;
  RowsOf<T const> x;
  template <int width>
  __device__ void add(std::int64_t row, std::int64_t column, FloatPack<width> (&sums)[outputs]) const {
    FloatPack<width> const v = load_floats<width>(x[row] + column);
#pragma unroll
    for (int i = 0; i < width; ++i) sums[0].at[i] += v.at[i];
  }
};

/// Few rows: one thread a column, without scratch.
template <class T>
__global__ void few_rows_kernel(RowsOf<T const> x, std::int64_t rows, std::int64_t cols, float* out, bool accumulate) {
  std::int64_t const col = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (col >= cols) return;
  float sum = 0;
  for (std::int64_t row = 0; row < rows; ++row) sum += to_float(x[row][col]);
  out[col] = accumulate ? out[col] + sum : sum;
}

}  // namespace

/// As many blocks of rows as the workspace has sums for, but no more than fill a device: a product's workspace, too,
/// is lent to this. With none, the rows are few.
void launch(Cuda& cuda, SumRows const& op) {
  std::int64_t const rows = op.x.rows(), cols = op.x.cols();
  std::int64_t const most =
      std::min<std::int64_t>(512, static_cast<std::int64_t>(cuda.workspace.size()) / (cols * size_of(DType::fp32)));
  auto* const partials = reinterpret_cast<float*>(cuda.workspace.data());  // [blocks, cols]
  auto* const out = data_of<float>(op.out);
  visit_device_float(op.x.dtype(), [&]<class T>(T) {
    constexpr int width = full_width<T>;
    auto const x = rows_of<T const>(op.x);
    if (most < 2 || rows < 2)
      return launch_kernel(cuda, {grid_size(divide_up(cols, 128)), 128u}, few_rows_kernel<T>, x, rows, cols, out,
                           op.accumulate);
    ColumnBlocks const blocks = column_blocks(rows, most);
    column_sums<width>(cuda, RowTerms<T>{x}, blocks, cols, rows_take(width, op.x), partials);
    add_partials(cuda, partials, blocks.count(), cols, out, cols, op.accumulate);
  });
}

}  // namespace selenite
