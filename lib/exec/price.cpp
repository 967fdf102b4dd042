#include "exec/price.hpp"

#include <algorithm>
#include <cmath>

#include "core/error.hpp"

namespace selenite {
namespace {

double memory_rate(Processor const& p) { return p.memory_bandwidth * p.memory_efficiency; }

/// x rounded up, but on a slope: half a piece is where the next one is paid in full. So a row more never costs a jump.
double pieces(double x) {
  double const whole = std::floor(x);
  return whole + std::min(1.0, 2 * (x - whole));
}

/// Seconds in which all multiprocessors together multiply.
double tile_seconds(Cost const& cost, Processor const& p, double rate) {
  // The efficiencies of small tiles: each multiply-add reads more operands from shared memory (A100 and H100 SXM,
  // cuBLAS).
  struct Tile {
    double rows, cols, efficiency;
  };
  constexpr Tile tiles[] = {{128, 256, 1},  {256, 128, 1},  {128, 128, 0.92},
                            {64, 128, 0.8}, {128, 64, 0.8}, {64, 64, 0.6}};
  auto const m = static_cast<double>(cost.m), n = static_cast<double>(cost.n), k = static_cast<double>(cost.k);
  double best = INFINITY;
  for (Tile const& t : tiles) {
    double const waves = pieces(m / t.rows) * pieces(n / t.cols) * static_cast<double>(cost.batch) / p.multiprocessors;
    double const paid = waves < 1 ? 1 : waves + p.wave_tail * (pieces(waves) - waves);
    double const flops = 2 * t.rows * t.cols * (k + p.gemm_ramp) * p.multiprocessors;
    best = std::min(best, paid * flops / (rate * t.efficiency));
  }
  return best;
}

double gemm_seconds(Cost const& cost, Machine const& machine) {
  Processor const& p = *machine.processor;
  double const multiply = tile_seconds(cost, p, machine.peak(cost.dtype) * p.gemm_efficiency);
  double const read = (cost.bytes - cost.result_bytes) / memory_rate(p);
  return machine.launch_seconds + std::max(multiply, read) + p.result_exposure * cost.result_bytes / memory_rate(p);
}

double attention_seconds(Cost const& cost, Machine const& machine) {
  Processor const& p = *machine.processor;
  AttentionLaw const& law = cost.backward ? p.attention_backward : p.attention_forward;
  double const rate = law.rates.at(static_cast<double>(cost.k)) * machine.peak(cost.dtype) / machine.peak_bf16;
  double const multiply = cost.flops * (1 + law.ramp / static_cast<double>(cost.n)) / rate;
  return machine.launch_seconds + law.seconds + std::max(multiply, cost.bytes / memory_rate(p));
}

/// Drawing what to drop is integer arithmetic, of which the multiplying hides nothing: the scores wait for it.
double draw_seconds(Cost const& cost, Machine const& machine) {
  return machine.draw_rate > 0 ? cost.draws / machine.draw_rate : 0;
}

double curve_seconds(Cost const& cost, RateCurve const& curve, Machine const& machine) {
  double const memory = cost.bytes / machine.stream.at(cost.bytes);
  return std::max(cost.flops / curve.at(cost.flops), memory) + machine.launch_seconds;
}

double stream_seconds(Cost const& cost, Machine const& machine) {
  Processor const* p = machine.processor ? &*machine.processor : nullptr;
  double const rate = p ? p->memory_bandwidth * p->stream_efficiency : machine.stream.at(cost.bytes);
  return cost.bytes / rate + machine.launch_seconds;
}

/// What another program moves where this one moves less, or nothing: passes that only read and write.
double other_bytes(Cost const& cost, OtherProgram const& program) {
  return cost.logits * (cost.backward ? program.logit_backward_bytes : program.logit_forward_bytes) +
         cost.gradients * program.gradient_bytes;
}

/// The time of the slowest of so many devices, of the middle one's: expected where they are spread evenly.
double slowest(Machine const& machine, ProcessGrid const& grid) {
  auto const n = static_cast<double>(grid.world());
  return 1 + machine.cluster.device_spread / 2 * (n - 1) / (n + 1);
}

/// Whether there are figures of what a group's messages go through.
bool is_known(Machine const& machine, Placement const& at) {
  if (at.ranks <= 1 || !machine.all_reduce.empty()) return true;
  return (at.in_node == 1 || machine.link_bandwidth > 0) && (at.nodes() == 1 || machine.cluster.network_bandwidth > 0);
}

/// All ranks of a job.
Placement all_of(Machine const& machine, std::int64_t ranks) {
  std::int64_t const node = machine.cluster.ranks_per_node;
  return {.ranks = ranks, .in_node = node > 0 ? std::min(node, ranks) : ranks};
}

/// What a group's messages go through.
struct Route {
  double ranks = 1, in_node = 1, nodes = 1;
  double bandwidth = 0;                  ///< bytes/s of a ring, a rank; each node's share of the network is the group's
  double latency = 0, node_latency = 0;  ///< s a step: the mean of a ring's, in a node
};

Route route(Machine const& machine, Placement const& at) {
  Cluster const& c = machine.cluster;
  Route r{.ranks = static_cast<double>(at.ranks),
          .in_node = static_cast<double>(at.in_node),
          .nodes = static_cast<double>(at.nodes()),
          .bandwidth = machine.link_bandwidth,
          .latency = machine.link_latency,
          .node_latency = machine.link_latency};
  if (at.nodes() == 1) return r;
  double const share = c.network_bandwidth * r.in_node / static_cast<double>(c.ranks_per_node);
  r.bandwidth = at.in_node == 1 ? share : std::min(share, machine.link_bandwidth);
  r.latency = (c.network_latency * r.nodes + machine.link_latency * (r.ranks - r.nodes)) / r.ranks;
  return r;
}

double ring_seconds(Route const& r, double bytes, double passes) {
  return passes * (r.ranks - 1) * (r.latency + bytes / r.ranks / r.bandwidth);
}
/// Up and down a tree over the nodes, and a chain in each, piece after piece.
double tree_seconds(Route const& r, double bytes, Cluster const& c) {
  double const steps = (r.in_node - 1) * r.node_latency + std::log2(r.nodes) * c.network_latency;
  return 2 * (steps + bytes / r.bandwidth);
}

/// As measured by size; what is smaller than all that was measured takes as long as that.
double measured_seconds(RateCurve const& curve, double bytes, double sent_part) {
  double const size = std::max(bytes, curve.sizes.front());
  return sent_part * size / curve.at(size);
}

double collective_seconds(Cost const& cost, Machine const& machine, Placement const& at) {
  if (at.ranks <= 1 || !is_known(machine, at)) return 0;
  if (!machine.all_reduce.empty()) {
    double const others = static_cast<double>(at.ranks - 1) / static_cast<double>(at.ranks);
    if (cost.work == Work::all_reduce) return measured_seconds(machine.all_reduce, cost.bytes, 2 * others);
    if (cost.work == Work::send) return measured_seconds(machine.ring_shift, cost.bytes, 1);
    return measured_seconds(machine.all_gather, cost.bytes, cost.work == Work::broadcast ? 1 : others);
  }
  Route const r = route(machine, at);
  double const start = machine.cluster.collective_seconds;
  switch (cost.work) {
    case Work::all_reduce: {
      double const ring = ring_seconds(r, cost.bytes, 2);
      return start + (r.nodes > 1 ? std::min(ring, tree_seconds(r, cost.bytes, machine.cluster)) : ring);
    }
    case Work::broadcast:
      return start + tree_seconds(r, cost.bytes, machine.cluster) / 2;
    case Work::send:  // a ring's shift: the slowest step holds up all
      return start + (r.nodes > 1 ? machine.cluster.network_latency : r.latency) +
             cost.bytes / (r.nodes > 1
                               ? machine.cluster.network_bandwidth / static_cast<double>(machine.cluster.ranks_per_node)
                               : r.bandwidth);
    default:
      return start + ring_seconds(r, cost.bytes, 1);
  }
}

double message_seconds(Cost const& cost, Machine const& machine, Rank from) {
  if (!machine.ring_shift.empty()) return measured_seconds(machine.ring_shift, cost.bytes, 1);
  Cluster const& c = machine.cluster;
  bool const inside = c.ranks_per_node == 0 || *from / c.ranks_per_node == cost.peer / c.ranks_per_node;
  double const bandwidth =
      inside ? machine.link_bandwidth : c.network_bandwidth / static_cast<double>(c.ranks_per_node);
  if (bandwidth <= 0) return 0;  // not known
  return c.collective_seconds + (inside ? machine.link_latency : c.network_latency) + cost.bytes / bandwidth;
}

/// How many of the ranks base + sum of c_axis x stride lie in [low, high), for axes from `axis` down.
std::int64_t count_in(ProcessGrid const& grid, AxisSet group, int axis, std::int64_t low, std::int64_t high) {
  std::int64_t stride = 1, extent = 0;  // extent: of all that the faster axes add
  int slowest = -1;
  std::int64_t slowest_stride = 0, inner = 0, count = 1;
  for (int a = 0; a <= axis; ++a) {
    std::int64_t const size = grid.size(static_cast<Axis>(a));
    if (group.has(static_cast<Axis>(a)) && size > 1)
      slowest = a, slowest_stride = stride, inner = extent, extent += (size - 1) * stride, count *= size;
    stride *= size;
  }
  if (high <= 0 || low > extent) return 0;
  if (low <= 0 && high > extent) return count;
  if (slowest < 0) return low <= 0 && high > 0 ? 1 : 0;
  std::int64_t const size = grid.size(static_cast<Axis>(slowest));
  std::int64_t const first = std::max<std::int64_t>(0, (low - inner) / slowest_stride - 1),
                     last = std::min(size - 1, high / slowest_stride);
  std::int64_t sum = 0;
  for (std::int64_t c = first; c <= last; ++c)
    sum += count_in(grid, group, slowest - 1, low - c * slowest_stride, high - c * slowest_stride);
  return sum;
}

}  // namespace

Placement place(ProcessGrid const& grid, Rank rank, AxisSet group, std::int64_t ranks_per_node) {
  Placement at{.ranks = grid.size(group)};
  at.in_node = at.ranks;
  if (ranks_per_node == 0 || grid.world() <= ranks_per_node || at.ranks == 1) return at;
  Coords first = grid.coords(rank);
  for (int a = 0; a < axis_count; ++a)
    if (group.has(static_cast<Axis>(a))) first[static_cast<std::size_t>(a)] = 0;
  std::int64_t const node = *rank / ranks_per_node * ranks_per_node - *grid.rank(first);
  at.in_node = count_in(grid, group, axis_count - 1, node, node + ranks_per_node);
  return at;
}

double price(Cost const& cost, Machine const& machine, ProcessGrid const& grid, Rank rank) {
  bool const half = size_of(cost.dtype) <= 2;  // 8-bit products at the rate of bf16's
  switch (cost.work) {
    case Work::gemm:
      return slowest(machine, grid) *
             (machine.processor ? gemm_seconds(cost, machine)
                                : curve_seconds(cost, half ? machine.gemm_bf16 : machine.gemm_fp32, machine));
    case Work::attention:
      return slowest(machine, grid) *
             (draw_seconds(cost, machine) +
              (machine.processor
                   ? attention_seconds(cost, machine)
                   : curve_seconds(cost, half ? machine.attention_bf16 : machine.attention_fp32, machine)));
    case Work::stream:
      if (double const bytes = other_bytes(cost, machine.program); bytes > 0 && machine.processor)
        return bytes / memory_rate(*machine.processor) + machine.launch_seconds;
      return cost.bytes > 0 ? stream_seconds(cost, machine) : 0;
    case Work::send:
    case Work::recv:
      if (cost.group.empty()) return message_seconds(cost, machine, rank);
      [[fallthrough]];
    case Work::all_reduce:
    case Work::all_gather:
    case Work::reduce_scatter:
    case Work::all_to_all:
    case Work::broadcast:
      return collective_seconds(cost, machine, place(grid, rank, cost.group, machine.cluster.ranks_per_node));
    case Work::host:
      return 0;
  }
  return 0;
}

bool knows_links(Machine const& machine, std::int64_t ranks) { return is_known(machine, all_of(machine, ranks)); }

void require_links(Machine const& machine, std::int64_t ranks) {
  if (knows_links(machine, ranks)) return;
  Placement const at = all_of(machine, ranks);
  bool const link = at.in_node > 1 && machine.link_bandwidth <= 0;
  throw Error(concat("The machine \"", machine.name, "\" has no figures for messages between ", ranks, " ranks (",
                     link ? concat("its link_bandwidth is 0, as of one rank that was measured alone")
                          : concat("a node holds ", machine.cluster.ranks_per_node, ", and its network_bandwidth is 0"),
                     link ? "). Measure it by several ranks (mpirun -n 8 selenite-sweep calibrate FILE), or give "
                            "link_bandwidth and link_latency in its file."
                          : "). Give network_bandwidth and network_latency in its file."));
}

}  // namespace selenite
