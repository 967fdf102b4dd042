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

}  // namespace selenite
