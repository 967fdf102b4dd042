#include "exec/exposed.hpp"

#include <numeric>

namespace selenite {

double& Exposed::of(Cause cause, AxisSet group, bool again) {
  if (again) return recompute;
  switch (cause) {
    case Cause::gemm:
      return gemm;
    case Cause::attention:
      return attention;
    case Cause::memory_bound:
      return memory_bound;
    case Cause::optimizer:
      return optimizer;
    case Cause::communication:
      break;
  }
  return communication[group.bits()];
}

double Exposed::total() const { return std::accumulate(communication.begin(), communication.end(), compute()); }

void Exposed::add(Exposed const& other, double times) {
  gemm += times * other.gemm, attention += times * other.attention, memory_bound += times * other.memory_bound;
  recompute += times * other.recompute, optimizer += times * other.optimizer;
  for (std::size_t i = 0; i < communication.size(); ++i) communication[i] += times * other.communication[i];
}

}  // namespace selenite
