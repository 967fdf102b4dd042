#include <algorithm>

#include "core/cpu.hpp"
#include "core/pieces.hpp"
#include "core/simd.hpp"
#include "kernels/embedding/embedding.hpp"

namespace selenite {
namespace {

using namespace simd;

/// A token's row of `table`, or null where it belongs to another shard.
template <class T>
T* shard_row(Tensor const& table, Tensor const& ids, std::int64_t t, std::int64_t first_row) {
  std::int64_t const r = ids.data<std::int32_t>()[t] - first_row;
  return r >= 0 && r < table.rows() ? row<T>(table, r) : nullptr;
}

template <class T>
void look_up(Embedding const& op, std::int64_t t) {
  std::int64_t const n = op.y.cols();
  T const* const token = shard_row<T>(op.table, op.ids, t, op.first_row);
  T* const y = row<T>(op.y, t);
  if (!op.position_table.defined()) {
    token ? std::copy_n(token, n, y) : std::fill_n(y, n, T(0.0f));
    return;
  }
  T const* const position = shard_row<T>(op.position_table, op.positions, t, 0);
  EXPECTS(position);
  for_lanes(n, [&](auto i, auto part) SELENITE_LAMBDA {
    Floats v = load(position + i, part);
    if (token) v += load(token + i, part);
    store(y + i, v, part);
  });
}

/// table[ids[t]] += dy[t] in columns [first, last), over the tokens in order.
template <class T>
void add_rows(Tensor const& table, Tensor const& ids, Tensor const& dy, std::int64_t first_row, std::int64_t first,
              std::int64_t last) {
  constexpr std::int64_t ahead = 4;  // rows of the table come in no order: ask for them early
  std::int64_t const tokens = dy.rows();
  for (std::int64_t t = 0; t < tokens; ++t) {
    if (t + ahead < tokens) {
      if (float const* next = shard_row<float>(table, ids, t + ahead, first_row))
        for (std::int64_t c = first; c < last; c += 16) __builtin_prefetch(next + c, 1);
    }
    float* const sum = shard_row<float>(table, ids, t, first_row);
    if (!sum) continue;
    T const* const from = row<T>(dy, t) + first;
    for_lanes(last - first, [&](auto i, auto part) SELENITE_LAMBDA {
      store(sum + first + i, load(sum + first + i, part) + load(from + i, part), part);
    });
  }
}

}  // namespace

void launch(Cpu&, Embedding const& op) {
  visit_float(op.y.dtype(), [&]<class T>(T) {
    parallel_for(op.y.rows(), rows_a_piece(op.y.cols()), [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t t = first; t < last; ++t) look_up<T>(op, t);
    });
  });
}

// Threads own ranges of columns: no two write the same element, and each row takes its tokens in token order.
void launch(Cpu&, EmbeddingBackward const& op) {
  visit_float(op.dy.dtype(), [&]<class T>(T) {
    parallel_for(op.dy.cols(), 128, [&](std::int64_t first, std::int64_t last) {
      if (op.dtable.defined()) add_rows<T>(op.dtable, op.ids, op.dy, op.first_row, first, last);
      if (op.dposition_table.defined()) add_rows<T>(op.dposition_table, op.positions, op.dy, 0, first, last);
    });
  });
}

Cost cost(Embedding const& op) {
  std::int64_t const position = op.position_table.defined() ? op.y.bytes() + op.positions.bytes() : 0;
  return {.work = Work::stream, .bytes = static_cast<double>(2 * op.y.bytes() + op.ids.bytes() + position)};
}
Cost cost(EmbeddingBackward const& op) {
  std::int64_t const table = op.dy.bytes() + 2 * op.dy.count() * size_of(DType::fp32);  // a row is read and written
  std::int64_t bytes = 0;
  if (op.dtable.defined()) bytes += table + op.ids.bytes();
  if (op.dposition_table.defined()) bytes += table + op.positions.bytes();
  return {.work = Work::stream, .bytes = static_cast<double>(bytes)};
}
std::int64_t workspace(Embedding const&, std::int64_t) { return 0; }
// What CUDA lists of a token and its row; with less, it takes fewer tokens at a time.
std::int64_t workspace(EmbeddingBackward const& op, std::int64_t budget) {
  return std::min((op.dy.rows() + 1) * 2 * size_of(DType::int32), budget);
}

}  // namespace selenite
