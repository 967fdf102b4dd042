#include "plan/calibrate.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <numeric>

#include "core/text.hpp"
#include "kernels/activation/activation.hpp"
#include "kernels/attention/attention.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/gemm/gemm.hpp"
#include "kernels/norm/norm.hpp"
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
  /// Of `bytes` each so many that, one after the other, none finds in the caches what it left there the last time.
  static std::int64_t enough(std::int64_t bytes) {
    return std::clamp<std::int64_t>((std::int64_t{48} << 20) / bytes, 1, 16);
  }
  /// Mean over the ranks, all of them at once, of what counts of a few runs of one of these, in turns. At least two
  /// runs, and for about as long as the effort says.
  template <class Op>
  double seconds(std::vector<Op> const& ops) {
    for (Op const& op : ops) ctx_(op);
    if (!ctx_.running()) return 1;
    ctx_.synchronize();
    comm_.barrier();
    double best = 1e30, total = 0, more = 1;
    double runs = 0;
    for (; more > 0 && (effort_.mean || runs < 20); ++runs) {
      auto const start = std::chrono::steady_clock::now();
      ctx_(ops[static_cast<std::size_t>(runs) % ops.size()]);
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
  template <class Op>
  double seconds(Op const& op) {
    return seconds(std::vector<Op>{op});
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

/// Seconds by size, of several operations each.
using Points = std::map<double, std::vector<double>>;
/// Rates, of the mean time where several are of one size.
RateCurve to_curve(Points const& points) {
  RateCurve curve;
  for (auto const& [size, seconds] : points) {
    double const sum = std::accumulate(seconds.begin(), seconds.end(), 0.0);
    curve.sizes.push_back(size), curve.rates.push_back(size * static_cast<double>(seconds.size()) / sum);
  }
  return curve;
}

struct GemmSize {
  std::int64_t rows, inputs, outputs;
};

/// What of a linear layer is measured: y = x W^T, or the mean of that, dx = dy W and dW += dy^T x with weights and
/// results that are not in the caches, as a training finds them.
enum class Passes : std::uint8_t { forward, all };

struct GemmRates {
  RateCurve curve;
  double best = 0;  ///< FLOP/s over all sizes, of y = x W^T alone and again and again: what a peak is
};
GemmRates measure_gemm(Bench& bench, std::vector<GemmSize> const& sizes, DType dtype, Passes passes) {
  Points points;
  GemmRates rates;
  for (GemmSize const& s : sizes) {
    ScopedMark const mark(bench.arena());
    Tensor const x = bench.tensor(dtype, {s.rows, s.inputs});
    std::vector<Gemm> forward, by_input, by_weight;
    std::int64_t const bytes = size_of(dtype) * s.outputs * (s.inputs + s.rows);
    for (std::int64_t i = 0; i < (passes == Passes::all ? Bench::enough(bytes) : 1); ++i) {
      Tensor const w = bench.tensor(dtype, {s.outputs, s.inputs}), y = bench.tensor(dtype, {s.rows, s.outputs});
      forward.push_back({.a = x, .b = w, .out = y, .transpose_b = true});
      if (passes == Passes::forward) continue;
      by_input.push_back({.a = y, .b = w, .out = x});
      by_weight.push_back({.a = y,
                           .b = x,
                           .out = bench.tensor(DType::fp32, {s.outputs, s.inputs}),
                           .transpose_a = true,
                           .accumulate = true});
    }
    double const flops = cost(forward[0]).flops, alone = bench.seconds(forward[0]);
    rates.best = std::max(rates.best, flops / alone);
    if (passes == Passes::forward)
      points[flops].push_back(alone);
    else
      for (auto const& ops : {forward, by_input, by_weight}) points[flops].push_back(bench.seconds(ops));
  }
  rates.curve = to_curve(points);
  return rates;
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

/// Forward and backward together.
struct AttentionTime {
  double forward_flops = 0, flops = 0, draws = 0, seconds = 0;
  RateCurve curve() const { return {{forward_flops}, {flops / seconds}}; }
  /// Decisions/s, if dropout took longer than none at all.
  double draw_rate(AttentionTime const& without) const {
    return seconds > without.seconds ? draws / (seconds - without.seconds) : 0;
  }
};

/// At the model's head size and sequence (at most 2,048) and at most 16 of its heads.
AttentionTime measure_attention(Bench& bench, ModelConfig const& m, std::int64_t samples, DType dtype,
                                double dropout = 0) {
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
                             .scale = 0.1,
                             .dropout = {.probability = dropout}};
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
  Cost const there = cost(forward), back = cost(backward);
  return {there.flops, there.flops + back.flops, there.draws + back.draws, forward_seconds + backward_seconds};
}

/// Norms and activations forward and backward, of rows of 512: what most of a training's memory-bound time is.
RateCurve measure_stream(Bench& bench, DType dtype) {
  constexpr std::int64_t features = 512;
  Points points;
  for (std::int64_t rows : {32, 256, 2048, 16384}) {
    double bytes = 0, seconds = 0;
    auto const add = [&](auto const& ops) { bytes += cost(ops[0]).bytes, seconds += bench.seconds(ops); };
    ScopedMark const mark(bench.arena());
    Tensor const weight = bench.tensor(dtype, {features}), bias = bench.tensor(dtype, {features}),
                 dweight = bench.tensor(DType::fp32, {features}), dbias = bench.tensor(DType::fp32, {features}),
                 mean = bench.tensor(DType::fp32, {rows}), rstd = bench.tensor(DType::fp32, {rows});
    std::vector<Norm> norms;
    std::vector<NormBackward> norms_back;
    std::vector<Activation> activations;
    std::vector<ActivationBackward> activations_back;
    for (std::int64_t i = 0; i < Bench::enough(3 * rows * features * size_of(dtype)); ++i) {
      Tensor const x = bench.tensor(dtype, {rows, features}), y = bench.tensor(dtype, {rows, features}),
                   z = bench.tensor(dtype, {rows, features});
      norms.push_back({.x = x, .y = y, .weight = weight, .bias = bias, .mean = mean, .rstd = rstd});
      norms_back.push_back(
          {.x = x, .dy = y, .dx = z, .weight = weight, .mean = mean, .rstd = rstd, .dweight = dweight, .dbias = dbias});
      activations.push_back({.x = x, .y = y});
      activations_back.push_back({.x = x, .dy = y, .dx = z});
    }
    add(norms), add(norms_back), add(activations), add(activations_back);
    points[bytes / 4].push_back(seconds / 4);
  }
  return to_curve(points);
}

/// Between all ranks at once, of a message's whole size.
void measure_links(Bench& bench, ProcessGrid const& grid, Machine& machine) {
  if (grid.world() == 1) return;
  auto const n = static_cast<double>(grid.world());
  AxisSet const all = AxisSet::all();
  for (std::int64_t bytes : {4 << 10, 64 << 10, 1 << 20, 16 << 20}) {
    ScopedMark const mark(bench.arena());
    Shape const parts{grid.world(), std::max<std::int64_t>(1, bytes / size_of(DType::fp32) / grid.world())};
    Tensor const data = bench.tensor(DType::fp32, parts), other = bench.tensor(DType::fp32, parts);
    auto const add = [&](RateCurve& curve, double sent, double seconds) {
      curve.sizes.push_back(static_cast<double>(data.bytes())), curve.rates.push_back(sent / seconds);
    };
    auto const size = static_cast<double>(data.bytes());
    add(machine.all_reduce, 2 * (n - 1) / n * size, bench.seconds(AllReduce{.data = data, .group = all}));
    add(machine.all_gather, (n - 1) / n * size,
        bench.seconds(AllGather{.input = data.row_range(0, 1), .output = other, .group = all}));
    add(machine.ring_shift, size, bench.seconds(RingShift{.send = data, .recv = other, .group = all}));
  }
  // the first point is all latency, the last all bandwidth
  machine.link_latency = machine.all_reduce.sizes.front() / n / machine.all_reduce.rates.front();
  machine.link_bandwidth = machine.all_reduce.rates.back();
}

}  // namespace

Machine measure_machine(Config const& c, Comm& comm, ProcessGrid const& grid, Executor& executor, Effort effort) {
  double const limit = executor.cuda ? 6e12 : 6e9;  // about 10 ms
  std::int64_t const tokens = c.train.micro_batch * c.model.sequence_length;
  DType const dtype = compute_dtype(c.train.precision);
  return measured(comm, grid, c.run.workspace, executor, effort, [&](Bench& bench) {
    Machine machine{.name = "this machine, measured at start", .source = "measured"};
    GemmRates const gemm = measure_gemm(bench, sizes_of(c.model, tokens, limit), dtype, Passes::forward);
    AttentionTime const attention = measure_attention(bench, c.model, c.train.micro_batch, dtype);
    machine.gemm_fp32 = machine.gemm_bf16 = gemm.curve;
    machine.attention_fp32 = machine.attention_bf16 = attention.curve();
    if (double const dropout = c.model.attention_dropout; dropout > 0)
      machine.draw_rate = measure_attention(bench, c.model, c.train.micro_batch, dtype, dropout).draw_rate(attention);
    machine.stream = measure_stream(bench, dtype);
    machine.peak_fp32 = machine.peak_bf16 = machine.peak_fp16 = gemm.best;
    measure_links(bench, grid, machine);
    return machine;
  });
}

namespace {

/// Of each rate the middle one of several rounds; peaks are the best.
Machine middle_of(std::vector<Machine> const& rounds) {
  auto const middle = [&](auto&& rate_of) {
    std::vector<double> rates;
    for (Machine const& m : rounds) rates.push_back(rate_of(m));
    std::ranges::nth_element(rates, rates.begin() + std::ssize(rates) / 2);
    return rates[rates.size() / 2];
  };
  Machine machine = rounds[0];
  for (double Machine::*x : {&Machine::draw_rate, &Machine::link_bandwidth, &Machine::link_latency})
    machine.*x = middle([x](Machine const& m) { return m.*x; });
  for (double Machine::*x : {&Machine::peak_fp32, &Machine::peak_bf16, &Machine::peak_fp16})
    for (Machine const& m : rounds) machine.*x = std::max(machine.*x, m.*x);
  for (RateCurve Machine::*curve :
       {&Machine::gemm_fp32, &Machine::gemm_bf16, &Machine::attention_fp32, &Machine::attention_bf16, &Machine::stream,
        &Machine::all_reduce, &Machine::all_gather, &Machine::ring_shift})
    for (std::size_t i = 0; i < (machine.*curve).rates.size(); ++i)
      (machine.*curve).rates[i] = middle([=](Machine const& m) { return (m.*curve).rates[i]; });
  return machine;
}

}  // namespace

Machine calibrate_machine(Comm& comm, ProcessGrid const& grid, std::int64_t workspace, Executor& executor) {
  constexpr Effort effort{.seconds = 0.04, .mean = true};  // as a training has it, on cores that others may use, too
  constexpr int rounds = 3;                                // a machine that others use is slow for seconds at a time
  std::vector<GemmSize> sizes;
  for (std::int64_t rows : {256, 1024, 4096})
    for (std::int64_t width : {256, 512, 1024, 2048})
      if (rows * width * width <= std::int64_t{1} << 32) sizes.push_back({rows, width, width});  // beyond is no news
  if (executor.cuda)
    for (std::int64_t width : {4096, 8192, 16384}) sizes.push_back({8192, width, width});
  auto const measure = [&](Bench& bench) {
    Machine machine{.name = "measured", .source = "measured by the kernels that train"};
    GemmRates const fp32 = measure_gemm(bench, sizes, DType::fp32, Passes::all),
                    bf16 = measure_gemm(bench, sizes, DType::bf16, Passes::all);
    machine.gemm_fp32 = fp32.curve, machine.gemm_bf16 = bf16.curve;
    machine.peak_fp32 = fp32.best, machine.peak_bf16 = machine.peak_fp16 = bf16.best;
    constexpr std::array<std::int64_t, 2> lengths{256, 1024};
    for (std::int64_t length : lengths) {
      ModelConfig const shape{.heads = 8, .kv_heads = 8, .head_dim = 64, .sequence_length = length};
      auto append = [](RateCurve& curve, RateCurve const& point) {
        curve.sizes.push_back(point.sizes[0]), curve.rates.push_back(point.rates[0]);
      };
      AttentionTime const bf16_time = measure_attention(bench, shape, 2, DType::bf16);
      append(machine.attention_fp32, measure_attention(bench, shape, 2, DType::fp32).curve()),
          append(machine.attention_bf16, bf16_time.curve());
      if (length == lengths.back())
        machine.draw_rate = measure_attention(bench, shape, 2, DType::bf16, 0.1).draw_rate(bf16_time);
    }
    machine.stream = measure_stream(bench, DType::fp32);
    measure_links(bench, grid, machine);
    return machine;
  };
  std::vector<Machine> found;
  for (int i = 0; i < rounds; ++i) found.push_back(measured(comm, grid, workspace, executor, effort, measure));
  return middle_of(found);
}

Machine find_machine(Config const& config, Comm& comm, ProcessGrid const& grid, Executor& executor) {
  return config.machine.name == "auto" ? measure_machine(config, comm, grid, executor)
                                       : named_machine(config.machine.name);
}

}  // namespace selenite
