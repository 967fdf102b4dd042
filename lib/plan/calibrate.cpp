#include "plan/calibrate.hpp"

#include <algorithm>
#include <chrono>
#include <map>

#include "core/text.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/gemm/gemm.hpp"
#include "plan/machine_files.hpp"

namespace selenite {
namespace {

/// Memory for the measurements, and a context over it.
class Bench {
 public:
  /// Finds how much memory the measurements need; their seconds are none.
  Bench(Comm& comm, ProcessGrid const& grid, std::int64_t workspace)
      : arena_("calibration", nullptr, INT64_MAX),
        comm_(comm),
        ctx_(place(comm, grid, workspace), static_cast<Machine const*>(nullptr)) {}
  Bench(Comm& comm, ProcessGrid const& grid, std::int64_t workspace, std::int64_t bytes, Executor& executor,
        Effort effort)
      : memory_(bytes, executor.cuda ? Memory::Kind::cuda : Memory::Kind::host),
        arena_("calibration", memory_.base(), bytes, executor.cuda ? Device::cuda : Device::cpu),
        comm_(comm),
        ctx_(place(comm, grid, workspace), executor, &comm),
        effort_(effort) {}

  Tensor tensor(DType dtype, Shape shape) {
    Tensor const t = arena_.allocate(dtype, shape);
    ctx_(Fill{.x = t, .value = 0.01});
    return t;
  }
  /// Mean over the ranks, all of them at once, of what counts of a few runs. At least two runs, and for about as long
  /// as the effort says.
  template <class Op>
  double seconds(Op const& op) {
    ctx_(op);
    if (!ctx_.running()) return 1;
    ctx_.synchronize();
    comm_.barrier();
    double best = 1e30, total = 0, more = 1;
    double runs = 0;
    for (; more > 0 && (effort_.mean || runs < 20); ++runs) {
      auto const start = std::chrono::steady_clock::now();
      ctx_(op);
      ctx_.synchronize();
      double const s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      best = std::min(best, s), total += s;
      more = runs < 1 || total < effort_.seconds ? 1 : 0;
      comm_.all_reduce({&more, 1}, Reduction::max);  // the op may be a collective: all ranks run it equally often
    }
    double counts = effort_.mean ? total / runs : best;
    comm_.all_reduce({&counts, 1}, Reduction::sum);
    return counts / static_cast<double>(comm_.world());
  }
  Arena& arena() { return arena_; }

 private:
  Ctx::Place place(Comm& comm, ProcessGrid const& grid, std::int64_t workspace) {
    return {.grid = grid, .rank = comm.rank(), .save = &arena_, .scratch = &arena_, .workspace_budget = workspace};
  }

  Memory memory_;
  Arena arena_;
  Comm& comm_;
  Ctx ctx_;
  Effort effort_;
};

/// What `measure` finds with as much memory as it takes.
template <class Measure>
Machine measured(Comm& comm, ProcessGrid const& grid, std::int64_t workspace, Executor& executor, Effort effort,
                 Measure&& measure) {
  Bench walk(comm, grid, workspace);
  measure(walk);
  Bench bench(comm, grid, workspace, walk.arena().peak(), executor, effort);
  return measure(bench);
}

void add_point(std::map<double, double>& curve, double size, double rate) { curve[size] = std::max(curve[size], rate); }
RateCurve to_curve(std::map<double, double> const& points) {
  RateCurve curve;
  for (auto const& [size, rate] : points) curve.sizes.push_back(size), curve.rates.push_back(rate);
  return curve;
}

struct GemmSize {
  std::int64_t rows, inputs, outputs;
};

RateCurve measure_gemm(Bench& bench, std::vector<GemmSize> const& sizes, DType dtype) {
  std::map<double, double> points;
  for (GemmSize const& s : sizes) {
    ScopedMark const mark(bench.arena());
    Gemm const op{.a = bench.tensor(dtype, {s.rows, s.inputs}),
                  .b = bench.tensor(dtype, {s.outputs, s.inputs}),
                  .out = bench.tensor(dtype, {s.rows, s.outputs}),
                  .transpose_b = true};
    double const flops = cost(op).flops;
    add_point(points, flops, flops / bench.seconds(op));
  }
  return to_curve(points);
}

/// The linear layers of the model (no side above 4,096: rates no longer change), each with the tokens of a micro-batch
/// (fewer where that is more than `limit` FLOPs) and with few.
std::vector<GemmSize> sizes_of(ModelConfig const& m, std::int64_t tokens, double limit) {
  constexpr std::int64_t longest = 4096;
  std::vector<GemmSize> sizes;
  for (auto [inputs, outputs] : {std::pair{m.hidden, m.heads * m.head_dim},
                                 {m.hidden, m.ffn_hidden},
                                 {m.ffn_hidden, m.hidden},
                                 {m.hidden, m.padded_vocab()}}) {
    inputs = std::min(inputs, longest), outputs = std::min(outputs, longest);
    auto const most =
        static_cast<std::int64_t>(limit / (2.0 * static_cast<double>(inputs) * static_cast<double>(outputs)));
    for (std::int64_t rows : {std::min(tokens, std::max<std::int64_t>(most, 64)), std::min<std::int64_t>(tokens, 64)})
      sizes.push_back({rows, inputs, outputs});
  }
  return sizes;
}

/// Forward and backward together, at the model's head size and sequence (at most 2,048) and at most 16 of its heads.
RateCurve measure_attention(Bench& bench, ModelConfig const& m, std::int64_t samples, DType dtype) {
  ScopedMark const mark(bench.arena());
  std::int64_t const length = std::min<std::int64_t>(m.sequence_length, 2048), group = m.heads / m.kv_heads;
  std::int64_t const kv_heads = std::max<std::int64_t>(1, std::min<std::int64_t>(m.kv_heads, 16 / group)),
                     heads = kv_heads * group;
  std::int64_t const width = heads * m.head_dim, kv_width = kv_heads * m.head_dim;
  std::int64_t const n = std::min<std::int64_t>(samples, std::max<std::int64_t>(1, 4096 / length));
  AttentionShape const shape{.samples = n,
                             .queries = length,
                             .keys = length,
                             .heads = heads,
                             .kv_heads = kv_heads,
                             .head_dim = m.head_dim,
                             .scale = 0.1};
  Tensor const q = bench.tensor(dtype, {n * length, width}), k = bench.tensor(dtype, {n * length, kv_width}),
               v = bench.tensor(dtype, {n * length, kv_width});
  Tensor const out = bench.tensor(dtype, {n * length, width}), lse = bench.tensor(DType::fp32, {n, heads, length});
  Attention const forward{.shape = shape, .q = q, .k = k, .v = v, .out = out, .logsumexp = lse};
  double const forward_seconds = bench.seconds(forward);
  AttentionBackward const backward{.shape = shape,
                                   .q = q,
                                   .k = k,
                                   .v = v,
                                   .out = out,
                                   .dout = out,
                                   .logsumexp = lse,
                                   .delta = bench.tensor(DType::fp32, {n, heads, length}),
                                   .dq = bench.tensor(dtype, {n * length, width}),
                                   .dk = bench.tensor(dtype, {n * length, kv_width}),
                                   .dv = bench.tensor(dtype, {n * length, kv_width})};
  double const backward_seconds = bench.seconds(backward);
  double const rate = (cost(forward).flops + cost(backward).flops) / (forward_seconds + backward_seconds);
  return {{cost(forward).flops}, {rate}};
}

RateCurve measure_stream(Bench& bench) {
  std::map<double, double> points;
  for (std::int64_t elements : {16 << 10, 256 << 10, 4 << 20, 16 << 20}) {
    ScopedMark const mark(bench.arena());
    Cast const copy{.x = bench.tensor(DType::fp32, {elements}), .y = bench.tensor(DType::fp32, {elements})};
    add_point(points, cost(copy).bytes, cost(copy).bytes / bench.seconds(copy));
  }
  return to_curve(points);
}

void measure_links(Bench& bench, ProcessGrid const& grid, Machine& machine) {
  if (grid.world() == 1) return;
  ScopedMark const mark(bench.arena());
  auto const n = static_cast<double>(grid.world());
  AxisSet const all = AxisSet::all();
  double const small = bench.seconds(AllReduce{.data = bench.tensor(DType::fp32, {64}), .group = all});
  AllReduce const large{.data = bench.tensor(DType::fp32, {4 << 20}), .group = all};
  double const seconds = bench.seconds(large);
  machine.link_latency = small / (2 * (n - 1));
  machine.link_bandwidth = 2 * (n - 1) / n * cost(large).bytes / std::max(seconds - small, 1e-6);
}

}  // namespace

Machine measure_machine(Config const& c, Comm& comm, ProcessGrid const& grid, Executor& executor, Effort effort) {
  double const limit = executor.cuda ? 6e12 : 6e9;  // about 10 ms
  std::int64_t const tokens = c.train.micro_batch * c.model.sequence_length;
  DType const dtype = compute_dtype(c.train.precision);
  return measured(comm, grid, c.run.workspace, executor, effort, [&](Bench& bench) {
    Machine machine{.name = "this machine, measured at start", .source = "measured"};
    RateCurve const gemm = measure_gemm(bench, sizes_of(c.model, tokens, limit), dtype),
                    attention = measure_attention(bench, c.model, c.train.micro_batch, dtype);
    machine.gemm_fp32 = machine.gemm_bf16 = gemm, machine.attention_fp32 = machine.attention_bf16 = attention;
    machine.stream = measure_stream(bench);
    machine.peak_fp32 = machine.peak_bf16 = machine.peak_fp16 = std::ranges::max(gemm.rates);
    measure_links(bench, grid, machine);
    return machine;
  });
}

Machine calibrate_machine(Comm& comm, ProcessGrid const& grid, std::int64_t workspace, Executor& executor) {
  std::vector<GemmSize> sizes;
  for (std::int64_t rows : {64, 512, 2048})
    for (std::int64_t width : {256, 768, 2048}) sizes.push_back({rows, width, width});
  if (executor.cuda)
    for (std::int64_t width : {4096, 8192, 16384}) sizes.push_back({8192, width, width});
  return measured(comm, grid, workspace, executor, {}, [&](Bench& bench) {
    Machine machine{.name = "measured", .source = "measured by the kernels that train"};
    machine.gemm_fp32 = measure_gemm(bench, sizes, DType::fp32),
    machine.gemm_bf16 = measure_gemm(bench, sizes, DType::bf16);
    machine.peak_fp32 = std::ranges::max(machine.gemm_fp32.rates);
    machine.peak_bf16 = machine.peak_fp16 = std::ranges::max(machine.gemm_bf16.rates);
    for (std::int64_t length : {256, 1024}) {
      ModelConfig const shape{.heads = 8, .kv_heads = 8, .head_dim = 64, .sequence_length = length};
      auto append = [](RateCurve& curve, RateCurve const& point) {
        curve.sizes.push_back(point.sizes[0]), curve.rates.push_back(point.rates[0]);
      };
      append(machine.attention_fp32, measure_attention(bench, shape, 2, DType::fp32)),
          append(machine.attention_bf16, measure_attention(bench, shape, 2, DType::bf16));
    }
    machine.stream = measure_stream(bench);
    measure_links(bench, grid, machine);
    return machine;
  });
}

Machine find_machine(Config const& config, Comm& comm, ProcessGrid const& grid, Executor& executor) {
  return config.machine.name == "auto" ? measure_machine(config, comm, grid, executor)
                                       : named_machine(config.machine.name);
}

}  // namespace selenite
