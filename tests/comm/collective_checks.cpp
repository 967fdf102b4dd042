#include <limits>

#include "checks.hpp"
#include "support.hpp"

namespace selenite {
namespace {

void all_reduce_sums_in_rank_order(Comm& comm) {
  for_each_group(comm, [](Member const& m) {
    for (DType dtype : dtypes)
      for (std::int64_t count : counts(m, dtype)) {
        Buffer b = filled(dtype, count, m.comm.rank());
        m.comm.launch(AllReduce{.data = b.tensor, .group = m.axes});
        expect(
            b.tensor, [&](std::int64_t i) { return sum_in_order(dtype, m.group, i); }, "all-reduce");
      }
  });
}

void all_reduce_takes_the_largest(Comm& comm) {
  for_each_group(comm, [](Member const& m) {
    for (DType dtype : dtypes) {
      Buffer b = filled(dtype, 1001, m.comm.rank());
      m.comm.launch(AllReduce{.data = b.tensor, .group = m.axes, .reduction = Reduction::max});
      auto largest = [&](std::int64_t i) {
        double most = -std::numeric_limits<double>::infinity();
        for (Rank r : m.group) most = std::max(most, rounded(dtype, value(*r, i)));
        return most;
      };
      expect(b.tensor, largest, "largest");
    }
  });
}

void gathering_and_scattering_keep_group_order(Comm& comm) {
  for_each_group(comm, [](Member const& m) {
    for (DType dtype : dtypes)
      for (std::int64_t count : {1, 5, 3001, m.large ? 600000 : 7}) {
        auto gathered = [&](std::int64_t i) {
          return rounded(dtype, value(*m.group[static_cast<std::size_t>(i / count)], i % count));
        };
        auto scattered = [&](std::int64_t i) { return sum_in_order(dtype, m.group, m.index * count + i); };
        std::int64_t const place = m.index * count * size_of(dtype);

        Buffer const input = filled(dtype, count, m.comm.rank());
        Buffer output(dtype, m.n * count);
        m.comm.launch(AllGather{.input = input.tensor, .output = output.tensor, .group = m.axes});
        expect(output.tensor, gathered, "all-gather");

        Buffer in_place(dtype, m.n * count);
        Tensor const own(in_place.bytes.data() + place, dtype, {count});
        std::copy(input.bytes.begin(), input.bytes.end(), own.raw());
        m.comm.launch(AllGather{.input = own, .output = in_place.tensor, .group = m.axes});
        expect(in_place.tensor, gathered, "all-gather in place");

        Buffer const whole = filled(dtype, m.n * count, m.comm.rank());
        Buffer piece(dtype, count);
        m.comm.launch(ReduceScatter{.input = whole.tensor, .output = piece.tensor, .group = m.axes});
        expect(piece.tensor, scattered, "reduce-scatter");
        Tensor const own_piece(const_cast<std::byte*>(whole.bytes.data()) + place, dtype, {count});
        m.comm.launch(ReduceScatter{.input = whole.tensor, .output = own_piece, .group = m.axes});
        expect(own_piece, scattered, "reduce-scatter in place");
      }
  });
}

void broadcast_comes_from_its_root(Comm& comm) {
  for_each_group(comm, [](Member const& m) {
    for (std::int64_t root = 0; root < m.n; ++root) {
      Buffer b = filled(DType::fp64, 777, m.comm.rank());
      m.comm.launch(Broadcast{.data = b.tensor, .group = m.axes, .root = root});
      expect(
          b.tensor, [&](std::int64_t i) { return value(*m.group[static_cast<std::size_t>(root)], i); }, "broadcast");
    }
  });
}

void a_ring_shift_comes_from_the_rank_before(Comm& comm) {
  for_each_group(comm, [](Member const& m) {
    for (std::int64_t count : {1, 1003, m.large ? 700001 : 2}) {
      Buffer a = filled(DType::fp32, count, m.comm.rank()), b(DType::fp32, count);
      for (std::int64_t step = 1; step <= m.n; ++step) {  // once around
        m.comm.launch(RingShift{.send = a.tensor, .recv = b.tensor, .group = m.axes});
        std::swap(a, b);
        Rank const origin = m.group[static_cast<std::size_t>((m.index - step + m.n) % m.n)];
        expect(
            a.tensor, [&](std::int64_t i) { return rounded(DType::fp32, value(*origin, i)); }, "ring shift");
      }
    }
  });
}

/// Messages go between neighbours of a pipeline.
void predict_a_message(Member const& m, SentBytes& predicted) {
  Rank const next = m.group[static_cast<std::size_t>((m.index + 1) % m.n)],
             before = m.group[static_cast<std::size_t>((m.index + m.n - 1) % m.n)];
  Buffer a(DType::fp16, 33), b(DType::fp16, 33);
  Send const send{.data = a.tensor, .to = next, .channel = Channel::forward, .tag = 4};
  Recv const receive{.data = b.tensor, .from = before, .channel = Channel::forward, .tag = 4};
  predicted[Channel::forward] += sent_bytes(send) + sent_bytes(receive);
  m.comm.launch(send);
  m.comm.launch(receive);
  m.comm.finish(Channel::forward);
}

/// What the backend hands over is what sent_bytes() says beside the operation, by group and by channel.
void bytes_sent_are_those_predicted(Comm& comm) {
  for_each_group(comm, [](Member const& m) {
    SentBytes predicted = m.comm.sent();
    auto collective = [&](auto const& op) {
      predicted[op.group] += sent_bytes(op, m.n, m.index);
      m.comm.launch(op);
    };
    for (DType dtype : dtypes) {
      for (std::int64_t count : counts(m, dtype)) {
        Buffer a(dtype, count), whole(dtype, count * m.n), b(dtype, count);
        collective(AllReduce{.data = a.tensor, .group = m.axes});
        collective(AllGather{.input = a.tensor, .output = whole.tensor, .group = m.axes});
        collective(ReduceScatter{.input = whole.tensor, .output = a.tensor, .group = m.axes});
        collective(Broadcast{.data = a.tensor, .group = m.axes, .root = m.n - 1});
        collective(RingShift{.send = a.tensor, .recv = b.tensor, .group = m.axes});
      }
    }
    if (m.axes == AxisSet{Axis::pipe}) predict_a_message(m, predicted);
    validate(m.comm.sent() == predicted, "bytes sent: ", m.comm.bytes_sent(), " in all, predicted ", predicted.total());
  });
}

/// Many small collectives of all kinds in a row: whoever is early must not overtake.
void collectives_in_a_row_do_not_overtake(Comm& comm) {
  for_each_group(comm, [](Member const& m) {
    double x = static_cast<double>(m.index), all = 0;
    std::vector<double> gathered(static_cast<std::size_t>(m.n));
    for (int round = 0; round < 20; ++round) {
      double sum = x + round;
      m.comm.launch(AllReduce{.data = Tensor::of(&sum, {1}), .group = m.axes});
      all = static_cast<double>(m.n * (m.n - 1) / 2 + m.n * round);
      validate(sum == all, "sum in round ", round, ": ", sum, ", not ", all);
      double mine = x * round;
      m.comm.launch(
          AllGather{.input = Tensor::of(&mine, {1}), .output = Tensor::of(gathered.data(), {m.n}), .group = m.axes});
      mine = -1;
      for (std::int64_t r = 0; r < m.n; ++r)
        validate(gathered[static_cast<std::size_t>(r)] == static_cast<double>(r * round), "gathered in round ", round);
    }
  });
}

}  // namespace

std::vector<Check> collective_checks() {
  return {{"all_reduce_sums_in_rank_order", all_reduce_sums_in_rank_order},
          {"all_reduce_takes_the_largest", all_reduce_takes_the_largest},
          {"gathering_and_scattering_keep_group_order", gathering_and_scattering_keep_group_order},
          {"broadcast_comes_from_its_root", broadcast_comes_from_its_root},
          {"a_ring_shift_comes_from_the_rank_before", a_ring_shift_comes_from_the_rank_before},
          {"collectives_in_a_row_do_not_overtake", collectives_in_a_row_do_not_overtake},
          {"bytes_sent_are_those_predicted", bytes_sent_are_those_predicted}};
}

}  // namespace selenite
