#include "comm/collectives.hpp"

namespace selenite {
namespace {
Cost message(Work work, Tensor const& whole, AxisSet group) {
  return {.work = work, .bytes = static_cast<double>(whole.bytes()), .dtype = whole.dtype(), .group = group};
}
}  // namespace

Cost cost(AllReduce const& op) { return message(Work::all_reduce, op.data, op.group); }
Cost cost(AllGather const& op) { return message(Work::all_gather, op.output, op.group); }
Cost cost(ReduceScatter const& op) { return message(Work::reduce_scatter, op.input, op.group); }
Cost cost(Broadcast const& op) { return message(Work::broadcast, op.data, op.group); }

}  // namespace selenite
