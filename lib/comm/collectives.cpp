#include "comm/collectives.hpp"

#include "comm/combine.hpp"

namespace selenite {
namespace {
Cost message(Work work, Tensor const& whole, AxisSet group = {}) {
  return {.work = work, .bytes = static_cast<double>(whole.bytes()), .dtype = whole.dtype(), .group = group};
}
Cost message(Work work, Tensor const& data, Rank peer) {
  Cost c = message(work, data, AxisSet{});
  c.peer = *peer;
  return c;
}
}  // namespace

Cost cost(AllReduce const& op) { return message(Work::all_reduce, op.data, op.group); }
Cost cost(AllGather const& op) { return message(Work::all_gather, op.output, op.group); }
Cost cost(ReduceScatter const& op) { return message(Work::reduce_scatter, op.input, op.group); }
Cost cost(Broadcast const& op) { return message(Work::broadcast, op.data, op.group); }
Cost cost(RingShift const& op) { return message(Work::send, op.send, op.group); }
Cost cost(Send const& op) { return message(Work::send, op.data, op.to); }
Cost cost(Recv const& op) { return message(Work::recv, op.data, op.from); }

std::int64_t sent_bytes(AllReduce const& op, std::int64_t n, std::int64_t index) {
  std::int64_t const size = size_of(op.data.dtype());
  auto sent = [&](std::int64_t count) {
    std::int64_t const own = share_of(count, n, index).count();
    return count - own + own * (n - 1);
  };
  std::int64_t const block = block_elements(size, n), whole = op.data.count() / block;
  return (whole * sent(block) + sent(op.data.count() % block)) * size;
}
std::int64_t sent_bytes(AllGather const& op, std::int64_t n, std::int64_t) { return op.input.bytes() * (n - 1); }
std::int64_t sent_bytes(ReduceScatter const& op, std::int64_t n, std::int64_t) { return op.output.bytes() * (n - 1); }
std::int64_t sent_bytes(Broadcast const& op, std::int64_t, std::int64_t index) {
  return index == op.root ? op.data.bytes() : 0;
}
std::int64_t sent_bytes(RingShift const& op, std::int64_t, std::int64_t) { return op.send.bytes(); }
std::int64_t sent_bytes(Send const& op) { return op.data.bytes(); }
std::int64_t sent_bytes(Recv const&) { return 0; }

}  // namespace selenite
