#include <algorithm>

#include "core/arena.hpp"
#include "core/parallel_for.hpp"
#include "core/simd.hpp"
#include "kernels/gemm/gemm_backend.hpp"
#include "kernels/gemm/gemm_epilogue.hpp"

namespace selenite {
namespace {

// Where the library has no kernel for a dtype (bf16 without AVX512_BF16, fp16 and 8 bits everywhere), blocks of the
// operands are widened to fp32 in the workspace and multiplied there. An element that is widened once serves `edge`
// multiply-adds, so that the passes over memory cost a few percent at the largest edge.
constexpr std::int64_t largest_edge = 1024, smallest_edge = 64;
constexpr std::int64_t padding = 16;  // rows of a power of two bytes would fall into the same cache lines

struct Blocks {
  std::int64_t m = 0, n = 0, k = 0;
};

// A vocabulary's dx = dy W sums 50,000 terms: the library's bf16 kernels on AMX do that in pieces, added up in
// fp32, 1.5 times as fast as at once. (Pieces of the columns of y = x W^T take 1.4 times as long, of the rows of dW as
// long.)
constexpr std::int64_t long_sum = 16384, piece = 4096, most_sum_bytes = 16 << 20;

std::int64_t buffer_bytes(std::int64_t elements) { return align_up(elements * 4, Arena::alignment); }
std::int64_t operand_bytes(Tensor const& x, bool transposed, std::int64_t rows, std::int64_t cols) {
  if (x.dtype() == DType::fp32) return 0;
  return buffer_bytes(transposed ? cols * (rows + padding) : rows * (cols + padding));
}
std::int64_t scratch_of(Gemm const& op, Blocks b) {
  return operand_bytes(op.a, op.transpose_a, b.m, b.k) + operand_bytes(op.b, op.transpose_b, b.k, b.n) +
         operand_bytes(op.out, false, b.m, b.n);
}

/// Equal blocks of at most `edge` in each dimension.
Blocks blocks_of(Gemm const& op, std::int64_t edge) {
  auto even = [edge](std::int64_t size) {
    std::int64_t const count = std::max<std::int64_t>(1, (size + edge - 1) / edge);
    return std::min(size, align_up((size + count - 1) / count, 16));
  };
  return {even(op.m()), even(op.n()), even(op.k())};
}
/// The largest blocks whose copies fit into `bytes`.
Blocks fitting_blocks(Gemm const& op, std::int64_t bytes) {
  std::int64_t edge = largest_edge;
  while (edge > smallest_edge && scratch_of(op, blocks_of(op, edge)) > bytes) edge /= 2;
  return blocks_of(op, edge);
}

bool is_fp8(DType type) { return size_of(type) == 1; }
/// visit_float with the 8-bit floats too.
template <class F>
decltype(auto) visit_operand(DType type, F&& f) {
  if (type == DType::e4m3) return f(e4m3{});
  if (type == DType::e5m2) return f(e5m2{});
  return simd::visit_float(type, f);
}
float value_of(Tensor const& scale) { return scale.defined() ? *scale.data<float>() : 1.0f; }

/// to(i, j) = factor from(i, j) in another dtype, row by row.
template <class From, class To>
void convert(From const* from, std::int64_t from_stride, To* to, std::int64_t to_stride, std::int64_t rows,
             std::int64_t cols, float factor = 1) {
  std::int64_t const grain = std::max<std::int64_t>(1, (1 << 15) / std::max<std::int64_t>(1, cols));
  parallel_for(rows, grain, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      simd::for_lanes(cols, [&](std::int64_t j, auto part) {
        simd::store(to + i * to_stride + j, factor * simd::load(from + i * from_stride + j, part), part);
      });
    }
  });
}

/// A part of an operand as fp32: a view of it, or a widened copy in `buffer`.
Fp32Matrix widen(Tensor const& x, bool transposed, std::int64_t row, std::int64_t col, std::int64_t rows,
                 std::int64_t cols, float*& buffer) {
  if (transposed) std::swap(row, col), std::swap(rows, cols);
  return visit_operand(x.dtype(), [&](auto type) -> Fp32Matrix {
    using T = decltype(type);
    T* const data = x.data<T>() + row * x.row_stride() + col;
    if constexpr (std::is_same_v<T, float>) {
      return {data, x.row_stride(), transposed};
    } else {
      Fp32Matrix const copy{buffer, cols + padding, transposed};
      buffer += buffer_bytes(rows * copy.stride) / 4;
      convert(data, x.row_stride(), copy.data, copy.stride, rows, cols);
      return copy;
    }
  });
}

/// What the sums start from: out and bias.
void start_sums(Gemm const& op, std::int64_t i0, std::int64_t j0, std::int64_t m, std::int64_t n, Fp32Matrix sums) {
  simd::visit_float(op.out.dtype(), [&](auto out_type) {
    simd::visit_float(op.bias.defined() ? op.bias.dtype() : DType::fp32, [&](auto bias_type) {
      auto const* const out = op.out.data<decltype(out_type)>();
      auto const* const bias = op.bias.defined() ? op.bias.data<decltype(bias_type)>() : nullptr;
      parallel_for(m, 16, [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) {
          simd::for_lanes(n, [&](std::int64_t j, auto part) {
            simd::Floats v{};
            if (op.accumulate) v = simd::load(out + (i0 + i) * op.out.row_stride() + j0 + j, part);
            if (bias) v += simd::load(bias + j0 + j, part);
            simd::store(sums.data + i * sums.stride + j, v, part);
          });
        }
      });
    });
  });
}

void multiply_blocks(Cpu& cpu, Gemm const& op) {
  Blocks const size = fitting_blocks(op, static_cast<std::int64_t>(cpu.workspace.size()));
  std::int64_t const needed = scratch_of(op, size);
  validate(needed <= static_cast<std::int64_t>(cpu.workspace.size()), "A matrix product in ", name(op.a.dtype()),
           " needs ", needed, " bytes of scratch (", cpu.workspace.size(),
           " are planned). Give scratch a larger budget.");
  bool const narrow = op.out.dtype() != DType::fp32;
  auto const scale = static_cast<float>(op.scale * value_of(op.a_scale) * value_of(op.b_scale));
  for (std::int64_t j = 0; j < op.n(); j += size.n) {
    for (std::int64_t i = 0; i < op.m(); i += size.m) {
      std::int64_t const m = std::min(size.m, op.m() - i), n = std::min(size.n, op.n() - j);
      auto* buffer = reinterpret_cast<float*>(cpu.workspace.data());
      Fp32Matrix sums{buffer, n + padding};
      if (narrow)
        buffer += buffer_bytes(m * sums.stride) / 4;
      else
        sums = {op.out.data<float>() + i * op.out.row_stride() + j, op.out.row_stride()};
      bool started = op.bias.defined() || (op.accumulate && narrow);
      if (started) start_sums(op, i, j, m, n, sums);
      started |= op.accumulate;
      for (std::int64_t p = 0; p < op.k(); p += size.k, started = true) {
        std::int64_t const k = std::min(size.k, op.k() - p);
        float* free = buffer;
        Fp32Matrix const a = widen(op.a, op.transpose_a, i, p, m, k, free),
                         b = widen(op.b, op.transpose_b, p, j, k, n, free);
        multiply_fp32(m, n, k, scale, a, b, sums, started);
        cpu.flops += 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
      }
      if (!narrow) continue;
      simd::visit_float(op.out.dtype(), [&](auto type) {
        convert(sums.data, sums.stride, op.out.data<decltype(type)>() + i * op.out.row_stride() + j,
                op.out.row_stride(), m, n);
      });
    }
  }
}

/// Whole operands as bf16, which holds every 8-bit float times a power of two: what the library multiplies fastest.
std::int64_t bf16_bytes(Tensor const& x) { return align_up(2 * x.count(), Arena::alignment); }
Gemm as_bf16(Gemm const& op, std::byte* memory) {
  Gemm wide = op;
  wide.a = Tensor(memory, DType::bf16, {op.a.rows(), op.a.cols()});
  wide.b = Tensor(memory ? memory + bf16_bytes(op.a) : nullptr, DType::bf16, {op.b.rows(), op.b.cols()});
  wide.a_scale = wide.b_scale = {};
  return wide;
}
void multiply_fp8(Cpu& cpu, Gemm const& op) {
  auto const copies = static_cast<std::size_t>(bf16_bytes(op.a) + bf16_bytes(op.b));
  Gemm const wide = as_bf16(op, cpu.workspace.data());
  auto const least = static_cast<std::size_t>(scratch_of(wide, blocks_of(wide, smallest_edge)));
  if (cpu.workspace.size() < copies + least) return multiply_blocks(cpu, op);
  auto widen_all = [](Tensor const& x, Tensor const& y, float factor) {
    visit_operand(x.dtype(), [&](auto type) {
      convert(x.data<decltype(type)>(), x.row_stride(), y.data<bf16>(), y.row_stride(), x.rows(), x.cols(), factor);
    });
  };
  widen_all(op.a, wide.a, value_of(op.a_scale));
  widen_all(op.b, wide.b, value_of(op.b_scale));
  std::span<std::byte> const all = cpu.workspace;
  cpu.workspace = all.subspan(copies);
  launch(cpu, wide);
  cpu.workspace = all;
}

}  // namespace

/// The library's kernel; in halves of the output where it wants more scratch than the plan gave; else blocks in fp32.
namespace {

bool sums_in_pieces(Gemm const& op) {
  bool const plain = !op.transpose_a && !op.accumulate && !op.bias.defined() && op.scale == 1 && !has_epilogue(op);
  return plain && op.a.dtype() == DType::bf16 && op.out.dtype() == DType::bf16 && op.k() >= long_sum;
}
/// fp32 sums of as many rows as there is room for; 0 where it does not pay.
std::int64_t rows_of_sums(Gemm const& op, std::int64_t bytes) {
  std::int64_t const rows = std::min(op.m(), bytes / buffer_bytes(op.n()));
  return rows < std::min<std::int64_t>(op.m(), 64) ? 0 : rows;
}
std::int64_t sum_bytes(Gemm const& op, std::int64_t budget) {
  return rows_of_sums(op, std::min(budget / 2, most_sum_bytes)) * buffer_bytes(op.n());
}

/// Parts of the longer side of the output, `size` rows or columns each.
void launch_parts(Cpu& cpu, Gemm const& op, std::int64_t size) {
  bool const by_rows = op.m() > op.n();
  std::int64_t const side = by_rows ? op.m() : op.n();
  for (std::int64_t first = 0; first < side; first += size) {
    std::int64_t const count = std::min(size, side - first);
    Gemm part = op;
    if (by_rows) {
      part.a = op.transpose_a ? op.a.columns(first, count) : op.a.row_range(first, count);
      part.out = op.out.row_range(first, count);
    } else {
      part.b = op.transpose_b ? op.b.row_range(first, count) : op.b.columns(first, count);
      part.out = op.out.columns(first, count);
      if (op.bias.defined()) part.bias = op.bias.columns(first, count);
    }
    launch(cpu, part);
  }
}

/// False, with nothing done, where there is no room or the library multiplies no bf16.
bool multiply_in_pieces(Cpu& cpu, Gemm const& op) {
  std::span<std::byte> const whole = cpu.workspace;
  std::int64_t const bytes = sum_bytes(op, static_cast<std::int64_t>(whole.size()));
  if (bytes == 0) return false;
  Tensor const sums(whole.data(), DType::fp32, {bytes / buffer_bytes(op.n()), buffer_bytes(op.n()) / 4});
  cpu.workspace = whole.subspan(static_cast<std::size_t>(bytes));
  bool possible = true;
  for (std::int64_t i = 0; possible && i < op.m(); i += sums.rows()) {
    std::int64_t const rows = std::min(sums.rows(), op.m() - i);
    Tensor const block = sums.row_range(0, rows).columns(0, op.n());
    for (std::int64_t p = 0; possible && p < op.k(); p += piece) {
      std::int64_t const terms = std::min(piece, op.k() - p);
      Gemm const part{.a = op.a.row_range(i, rows).columns(p, terms),
                      .b = op.transpose_b ? op.b.columns(p, terms) : op.b.row_range(p, terms),
                      .out = block,
                      .transpose_b = op.transpose_b,
                      .accumulate = p > 0};
      Direct const direct = multiply_direct(cpu, part);
      if (direct == Direct::too_large) launch(cpu, part);
      possible = direct != Direct::unsupported;  // as is seen at the first
    }
    if (possible)
      convert(block.data<float>(), block.row_stride(), op.out.data<bf16>() + i * op.out.row_stride(),
              op.out.row_stride(), rows, op.n());
  }
  cpu.workspace = whole;
  return possible;
}

}  // namespace

void launch(Cpu& cpu, Gemm const& op) {
  validate(!op.bias.defined() || op.scale == 1,
           "A matrix product has both a bias and a scale (libraries disagree which comes first). Use one.");
  check_epilogue(op);
  if (has_epilogue(op)) return apart(op, [&](auto const& part) { launch(cpu, part); });
  if (is_fp8(op.a.dtype())) return multiply_fp8(cpu, op);
  if (sums_in_pieces(op) && multiply_in_pieces(cpu, op)) return;
  Direct const direct = multiply_direct(cpu, op);
  if (direct == Direct::done) return;
  constexpr std::int64_t worth_splitting = 512;
  std::int64_t const m = op.m(), n = op.n();
  if (direct == Direct::unsupported || op.a.dtype() == DType::fp32 || std::max(m, n) < worth_splitting)
    return multiply_blocks(cpu, op);
  launch_parts(cpu, op, align_up(std::max(m, n) / 2, 64));
}

/// Enough for fp32 copies of blocks, and for the scratchpads of the library's kernels, which pack a part of the
/// operands a thread.
std::int64_t workspace(Gemm const& op, std::int64_t budget) {
  if (is_fp8(op.a.dtype())) {
    std::int64_t const copies = bf16_bytes(op.a) + bf16_bytes(op.b);
    return copies < budget ? copies + workspace(as_bf16(op, nullptr), budget - copies)
                           : std::min(budget, scratch_of(op, blocks_of(op, largest_edge)));
  }
  if (op.bias_gradient.defined()) {
    Gemm product = op;
    product.bias_gradient = {};
    return std::max(workspace(product, budget), workspace(SumRows{.x = op.a, .out = op.bias_gradient}, budget));
  }
  std::int64_t const packed = 8 * (op.m() * op.k() + op.k() * op.n() + op.m() * op.n());
  std::int64_t const most = op.out.device() == Device::cuda ? 32 << 20 : 16 << 20;  // cuBLAS' own choice on Hopper
  std::int64_t const library = std::min<std::int64_t>(most, (256 << 10) + packed);
  std::int64_t const sums = sums_in_pieces(op) && op.out.device() == Device::cpu ? sum_bytes(op, budget) : 0;
  return std::min(budget, std::max(library + sums, scratch_of(op, blocks_of(op, largest_edge))));
}

}  // namespace selenite
