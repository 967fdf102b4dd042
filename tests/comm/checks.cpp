#include "checks.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "core/element.hpp"

namespace selenite {
namespace {

/// Values that any rank can work out for any other: no symmetry, of many magnitudes, so that the order of sums shows.
double value(std::int64_t rank, std::int64_t i) {
  auto x =
      static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(rank + 1) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  constexpr double magnitudes[] = {1, 10, 100, 1000};
  return (static_cast<double>(x >> 11) * 0x1p-52 - 1) * magnitudes[x & 3u];
}

struct Buffer {
  Buffer(DType dtype, std::int64_t count)
      : bytes(static_cast<std::size_t>(count * size_of(dtype))), tensor(bytes.data(), dtype, {count}) {}
  std::vector<std::byte> bytes;
  Tensor tensor;
};
Buffer filled(DType dtype, std::int64_t count, Rank rank) {
  Buffer b(dtype, count);
  for (std::int64_t i = 0; i < count; ++i) store(b.tensor, i, value(*rank, i));
  return b;
}
double rounded(DType dtype, double x) {
  std::byte place[8];
  Tensor const one(place, dtype, {1});
  store(one, 0, x);
  return load(one, 0);
}

/// The sum in group order as the contract says: in fp32 (fp64 for fp64), rounded once to the dtype.
double sum_in_order(DType dtype, std::vector<Rank> const& group, std::int64_t i) {
  if (dtype == DType::fp64) {
    double sum = value(*group[0], i);
    for (std::size_t r = 1; r < group.size(); ++r) sum += value(*group[r], i);
    return sum;
  }
  auto sum = static_cast<float>(rounded(dtype, value(*group[0], i)));
  for (std::size_t r = 1; r < group.size(); ++r) sum += static_cast<float>(rounded(dtype, value(*group[r], i)));
  return rounded(dtype, sum);
}

/// All elements of a small tensor; of a large one those at the ends, around the limits of pieces, and a sample.
void expect(Tensor const& got, std::function<double(std::int64_t)> const& wanted, std::string const& what) {
  std::int64_t const count = got.count();
  auto one = [&](std::int64_t i) {
    double const g = load(got, i), w = wanted(i);
    validate(g == w, what, ": element ", i, " of ", count, " ", name(got.dtype()), " is ", g, ", not ", w);
  };
  for (std::int64_t i = 0, step = count > 5000 ? 97 : 1; i < count; i += step) one(i);
  for (std::int64_t limit = 1 << 17; limit < count; limit += 1 << 17) one(limit - 1), one(limit);
  if (count > 0) one(count - 1);
}

struct Member {
  Comm& comm;
  AxisSet axes;
  std::vector<Rank> group;
  std::int64_t index, n;
  bool large;  ///< messages of more than one piece are tried in this group
};

std::vector<Coords> grids(std::int64_t n) {
  std::vector<Coords> all{{1, 1, 1, n, 1}, {n, 1, 1, 1, 1}, {1, 1, 1, 1, n}};
  if (n == 4) all.insert(all.end(), {{1, 1, 1, 2, 2}, {2, 1, 1, 2, 1}, {1, 2, 2, 1, 1}});
  if (n == 8) all.insert(all.end(), {{2, 1, 1, 2, 2}, {2, 2, 2, 1, 1}});
  if (n == 16) all.insert(all.end(), {{2, 2, 1, 2, 2}, {4, 1, 1, 1, 4}});
  return all;
}

/// Calls body for every group that this rank has in every grid of the world.
void for_each_group(Comm& comm, std::function<void(Member const&)> const& body) {
  for (Coords const& sizes : grids(comm.world())) {
    ProcessGrid const grid(sizes);
    comm.set_grid(grid);
    for (AxisSet const axes :
         {AxisSet{Axis::data}, AxisSet{Axis::pipe}, AxisSet{Axis::tensor}, AxisSet{Axis::data, Axis::pipe},
          AxisSet{Axis::context, Axis::expert, Axis::data}, AxisSet::all()}) {
      std::int64_t const n = grid.size(axes);
      if (n == 1) continue;
      try {
        body({comm, axes, grid.group(comm.rank(), axes), grid.index_in_group(comm.rank(), axes), n,
              n <= 4 && axes == AxisSet{Axis::data}});
      } catch (Stopped const&) {
        throw;
      } catch (Error const& e) {
        throw Error(concat(e.what(), " (", describe(grid, comm.rank()), ", group over ", to_string(axes), ")"));
      }
    }
  }
}

DType const dtypes[] = {DType::fp32, DType::fp64, DType::bf16, DType::fp16};
std::vector<std::int64_t> counts(Member const& m, DType dtype) {
  std::vector<std::int64_t> all{0, 1, 2, 3, 1000, 4099};  // none, fewer than ranks, odd
  if (m.large) all.push_back((1 << 20) / size_of(dtype) * m.n + 7);
  return all;
}

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

/// Every rank sends three messages to every other on two channels, and takes them in another order.
void messages_are_found_by_peer_channel_and_tag(Comm& comm) {
  std::int64_t const n = comm.world(), count = 50000;  // beyond what a transport sends without being asked
  std::vector<Buffer> sent;
  auto seed = [&](Rank from, Rank to, Channel channel, std::int64_t tag) {
    return Rank(((*from * n + *to) * 4 + static_cast<std::int64_t>(channel)) * 16 + tag);
  };
  Channel const channels[] = {Channel::forward, Channel::tied};
  sent.reserve(static_cast<std::size_t>(6 * n));
  for (std::int64_t to = 0; to < n; ++to)
    for (Channel channel : channels)
      for (std::int64_t tag : {1, 2, 3}) {
        if (Rank(to) == comm.rank()) continue;
        sent.push_back(filled(DType::bf16, count + tag, seed(comm.rank(), Rank(to), channel, tag)));
        comm.launch(Send{.data = sent.back().tensor, .to = Rank(to), .channel = channel, .tag = tag});
      }
  for (std::int64_t tag : {3, 1, 2})
    for (Channel channel : {Channel::tied, Channel::forward})
      for (std::int64_t from = n - 1; from >= 0; --from) {
        if (Rank(from) == comm.rank()) continue;
        Buffer got(DType::bf16, count + tag);
        comm.launch(Recv{.data = got.tensor, .from = Rank(from), .channel = channel, .tag = tag});
        Rank const s = seed(Rank(from), comm.rank(), channel, tag);
        expect(
            got.tensor, [&](std::int64_t i) { return rounded(DType::bf16, value(*s, i)); }, "message");
      }
  for (Channel channel : channels) comm.finish(channel);
}

/// Messages of one tag keep their order; what has been finished may be written over.
void messages_of_one_tag_keep_their_order(Comm& comm) {
  std::int64_t const n = comm.world();
  if (n == 1) return;
  Rank const next((*comm.rank() + 1) % n), before((*comm.rank() + n - 1) % n);
  float out = 0, in = 0;
  for (int round = 0; round < 3; ++round) {
    float values[20];
    for (int i = 0; i < 20; ++i) {
      values[i] = static_cast<float>(round * 20 + i);
      comm.launch(Send{.data = Tensor::of(values + i, {1}), .to = next, .channel = Channel::backward, .tag = 9});
    }
    comm.finish(Channel::backward);
    std::fill_n(values, 20, -1.0f);
    for (int i = 0; i < 20; ++i) {
      comm.launch(Recv{.data = Tensor::of(&in, {1}), .from = before, .channel = Channel::backward, .tag = 9});
      validate(in == out, "message ", out, " of one tag: ", in);
      ++out;
    }
  }
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
    Rank const next = m.group[static_cast<std::size_t>((m.index + 1) % m.n)],
               before = m.group[static_cast<std::size_t>((m.index + m.n - 1) % m.n)];
    Buffer a(DType::fp16, 33), b(DType::fp16, 33);
    Send const send{.data = a.tensor, .to = next, .channel = Channel::tied, .tag = 4};
    Recv const receive{.data = b.tensor, .from = before, .channel = Channel::tied, .tag = 4};
    predicted[Channel::tied] += sent_bytes(send) + sent_bytes(receive);
    m.comm.launch(send);
    m.comm.launch(receive);
    m.comm.finish(Channel::tied);
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

void control_messages_reach_all(Comm& comm) {
  auto const n = comm.world(), me = *comm.rank();
  std::vector<double> values{static_cast<double>(me), 1, 0.1 * static_cast<double>(me + 1)};
  comm.all_reduce(values, Reduction::sum);
  validate(values[0] == static_cast<double>(n * (n - 1) / 2) && values[1] == static_cast<double>(n), "control sum");
  double in_order = 0.1;
  for (std::int64_t r = 1; r < n; ++r) in_order += 0.1 * static_cast<double>(r + 1);
  validate(values[2] == in_order, "control sum in rank order");
  values = {static_cast<double>(me)};
  comm.all_reduce(values, Reduction::max);
  validate(values[0] == static_cast<double>(n - 1), "control maximum");

  auto const text_of = [](std::int64_t r) {
    return std::string(static_cast<std::size_t>(r) * 1000, static_cast<char>('a' + r));
  };
  auto const texts = comm.all_gather(text_of(me));
  validate(static_cast<std::int64_t>(texts.size()) == n, "texts");
  for (std::int64_t r = 0; r < n; ++r) validate(texts[static_cast<std::size_t>(r)] == text_of(r), "text of rank ", r);
  std::vector<std::byte> bytes(static_cast<std::size_t>(me == n - 1 ? 12345 : me),
                               std::byte{static_cast<unsigned char>(me)});
  comm.broadcast(bytes, Rank(n - 1));
  validate(bytes.size() == 12345 && bytes.back() == std::byte{static_cast<unsigned char>(n - 1)}, "control broadcast");
  comm.barrier();
}

template <class Body>
void expect_error(std::string const& begin, Body body) {
  std::string got = "no error";
  try {
    body();
  } catch (Error const& e) {
    got = e.what();
  }
  validate(got.find(begin) == 0, "Wanted \"", begin, "\", got \"", got, "\"");
}

void ranks_that_differ_are_named_by_all(Comm& comm) {
  require_same(comm, "config", "a");
  std::int64_t const last = comm.world() - 1;
  if (last == 0) return;
  expect_error(concat("Rank ", last, " has another config than rank 0"),
               [&] { require_same(comm, "config", *comm.rank() == last ? "other" : "same"); });
}

void a_grid_of_another_size_is_refused(Comm& comm) {
  std::int64_t const n = comm.world();
  expect_error(concat("The layout has ", n + 1, " ranks but "), [&] {
    comm.set_grid(ProcessGrid({1, 1, 1, n + 1, 1}));
  });
}

}  // namespace

std::vector<Check> const& checks() {
#define CHECK_OF(function) \
  { #function, function }
  static std::vector<Check> const all{CHECK_OF(all_reduce_sums_in_rank_order),
                                      CHECK_OF(all_reduce_takes_the_largest),
                                      CHECK_OF(gathering_and_scattering_keep_group_order),
                                      CHECK_OF(broadcast_comes_from_its_root),
                                      CHECK_OF(a_ring_shift_comes_from_the_rank_before),
                                      CHECK_OF(messages_are_found_by_peer_channel_and_tag),
                                      CHECK_OF(messages_of_one_tag_keep_their_order),
                                      CHECK_OF(bytes_sent_are_those_predicted),
                                      CHECK_OF(collectives_in_a_row_do_not_overtake),
                                      CHECK_OF(control_messages_reach_all),
                                      CHECK_OF(ranks_that_differ_are_named_by_all),
                                      CHECK_OF(a_grid_of_another_size_is_refused)};
#undef CHECK_OF
  return all;
}

}  // namespace selenite
