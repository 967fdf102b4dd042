#include <algorithm>

#include "core/cpu.hpp"
#include "core/parallel_for.hpp"
#include "core/simd.hpp"
#include "kernels/gemm/gemm.hpp"

namespace selenite {
namespace {

constexpr std::int64_t rows_a_block = 128, most_blocks = 64;

/// Blocks of rows that are summed apart, and then one after the other: by sizes and scratch alone, never by threads.
std::int64_t block_count(SumRows const& op, std::int64_t bytes) {
  std::int64_t const wanted = std::min(most_blocks, (op.x.rows() + rows_a_block - 1) / rows_a_block);
  return std::max<std::int64_t>(1, std::min(wanted, bytes / (op.x.cols() * 4)));
}

/// sums[n] (+)= rows [first, last) of x, four rows at a time so that the sums are read and written less often.
template <class T>
void add_rows(T const* x, std::int64_t stride, std::int64_t first, std::int64_t last, std::int64_t n, float* sums,
              bool accumulate) {
  if (!accumulate) std::fill(sums, sums + n, 0.0f);
  for (; first < last; first += 4) {
    T const* const row = x + first * stride;
    std::int64_t const rows = std::min<std::int64_t>(4, last - first);
    simd::for_lanes(n, [&](std::int64_t j, auto part) {
      simd::Floats sum = simd::load(sums + j, part);
      if (rows == 4) {
        sum += (simd::load(row + j, part) + simd::load(row + stride + j, part)) +
               (simd::load(row + 2 * stride + j, part) + simd::load(row + 3 * stride + j, part));
      } else {
        for (std::int64_t i = 0; i < rows; ++i) sum += simd::load(row + i * stride + j, part);
      }
      simd::store(sums + j, sum, part);
    });
  }
}

}  // namespace

void launch(Cpu& cpu, SumRows const& op) {
  std::int64_t const n = op.x.cols(), blocks = block_count(op, static_cast<std::int64_t>(cpu.workspace.size()));
  std::int64_t const height = (op.x.rows() + blocks - 1) / blocks;
  float* const out = op.out.data<float>();
  simd::visit_float(op.x.dtype(), [&](auto type) {
    auto const* const x = op.x.data<decltype(type)>();
    if (blocks == 1) return add_rows(x, op.x.row_stride(), 0, op.x.rows(), n, out, op.accumulate);
    auto* const partial = reinterpret_cast<float*>(cpu.workspace.data());  // [blocks, n]
    parallel_for(blocks, 1, [&](std::int64_t block, std::int64_t) {
      std::int64_t const first = std::min(block * height, op.x.rows()), last = std::min(first + height, op.x.rows());
      add_rows(x, op.x.row_stride(), first, last, n, partial + block * n, false);
    });
    add_rows(partial, n, 0, blocks, n, out, op.accumulate);
  });
}

std::int64_t workspace(SumRows const& op, std::int64_t budget) {
  std::int64_t const blocks = block_count(op, budget);
  return blocks == 1 ? 0 : blocks * op.x.cols() * 4;
}

}  // namespace selenite
