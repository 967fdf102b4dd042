#include "exec/price.hpp"

#include <algorithm>

namespace selenite {
namespace {

double compute_seconds(Cost const& cost, RateCurve const& curve, Machine const& machine) {
  double const memory = cost.bytes / machine.stream.at(cost.bytes);
  return std::max(cost.flops / curve.at(cost.flops), memory) + machine.launch_seconds;
}

/// Ring over n ranks: latency and bytes of each step (nccl-tests' bandwidth factors).
double ring_seconds(Cost const& cost, Machine const& machine, ProcessGrid const& grid, double passes) {
  auto const n = static_cast<double>(grid.size(cost.group));
  if (n <= 1 || machine.link_bandwidth <= 0) return 0;
  return passes * (n - 1) * (machine.link_latency + cost.bytes / n / machine.link_bandwidth);
}

}  // namespace

double price(Cost const& cost, Machine const& machine, ProcessGrid const& grid) {
  bool const half = size_of(cost.dtype) <= 2;  // 8-bit products at the rate of bf16's
  switch (cost.work) {
    case Work::gemm:
      return compute_seconds(cost, half ? machine.gemm_bf16 : machine.gemm_fp32, machine);
    case Work::attention:
      return compute_seconds(cost, half ? machine.attention_bf16 : machine.attention_fp32, machine);
    case Work::stream:
      return cost.bytes / machine.stream.at(cost.bytes) + machine.launch_seconds;
    case Work::all_reduce:
      return ring_seconds(cost, machine, grid, 2);
    case Work::all_gather:
    case Work::reduce_scatter:
    case Work::all_to_all:
      return ring_seconds(cost, machine, grid, 1);
    case Work::broadcast:
    case Work::send:
    case Work::recv:
      return machine.link_bandwidth > 0 ? machine.link_latency + cost.bytes / machine.link_bandwidth : 0;
    case Work::host:
      return 0;
  }
  return 0;
}

}  // namespace selenite
