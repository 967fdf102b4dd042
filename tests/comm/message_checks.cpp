#include <thread>

#include "checks.hpp"
#include "support.hpp"

namespace selenite {
namespace {

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

void notes_reach_other_ranks_in_order(Comm& comm) {
  std::int64_t const n = comm.world(), me = *comm.rank();
  if (n == 1) return;
  validate(!comm.take_note(), "a note that nobody sent");
  comm.barrier();
  for (char const* what : {"first", "second"})
    for (std::int64_t to = 0; to < n; ++to)
      if (to != me) comm.post_note(Rank(to), concat(me, " ", what));
  std::vector<int> got(static_cast<std::size_t>(n), 0);
  for (std::int64_t missing = 2 * (n - 1); missing > 0;) {
    auto const note = comm.take_note();
    if (!note) continue;
    std::int64_t const from = std::stoll(*note);
    validate(from >= 0 && from < n && from != me, "a note of rank ", from);
    int& count = got[static_cast<std::size_t>(from)];
    validate(*note == concat(from, count == 0 ? " first" : " second"), "note ", count, " of rank ", from, ": ", *note);
    ++count, --missing;
  }
  comm.barrier();
  validate(!comm.take_note(), "a note too many");
}

void calls_in_flight_are_seen(Comm& comm) {
  validate(!comm.calls().current(), "a call before any");
  std::uint64_t const before = comm.calls().count();
  comm.barrier();
  validate(comm.calls().count() == before + 2, "a barrier is a begin and an end");
  if (comm.world() == 1) return;
  if (comm.rank() == Rank(0)) {
    float value = 0;
    std::optional<Call> seen;
    std::jthread other([&] {
      while (!seen) seen = comm.calls().current();
      comm.post_note(Rank(1), "go on");
    });
    comm.launch(Recv{.data = Tensor::of(&value, {1}), .from = Rank(1)});
    other.join();
    validate(to_string(*seen) == "recv from rank 1", to_string(*seen));
  } else if (comm.rank() == Rank(1)) {
    float value = 1;
    while (!comm.take_note()) std::this_thread::yield();
    comm.launch(Send{.data = Tensor::of(&value, {1}), .to = Rank(0)});
    comm.finish(Channel::forward);
  }
  validate(!comm.calls().current(), "a call after all");
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
  bool const differs = *comm.rank() == last;
  expect_error(
      concat("Rank ", last, " has another config than rank 0 (\"[b] y = 3\" where rank 0 has \"[b] y = 2\";"),
      [&] { require_same(comm, "config", differs ? "[a]\nx = 1\n[b]\ny = 3\nz = 9" : "[a]\nx = 1\n[b]\ny = 2"); });
  expect_error(concat("Rank ", last, " has another build than rank 0 (nothing where rank 0 has \"line 2\";"),
               [&] { require_same(comm, "build", differs ? "line 1" : "line 1\nline 2"); });
}

void a_grid_of_another_size_is_refused(Comm& comm) {
  std::int64_t const n = comm.world();
  expect_error(concat("The layout has ", n + 1, " ranks but "), [&] {
    comm.set_grid(ProcessGrid({1, 1, 1, n + 1, 1}));
  });
}

}  // namespace

std::vector<Check> message_checks() {
  return {{"messages_are_found_by_peer_channel_and_tag", messages_are_found_by_peer_channel_and_tag},
          {"messages_of_one_tag_keep_their_order", messages_of_one_tag_keep_their_order},
          {"control_messages_reach_all", control_messages_reach_all},
          {"notes_reach_other_ranks_in_order", notes_reach_other_ranks_in_order},
          {"calls_in_flight_are_seen", calls_in_flight_are_seen},
          {"ranks_that_differ_are_named_by_all", ranks_that_differ_are_named_by_all},
          {"a_grid_of_another_size_is_refused", a_grid_of_another_size_is_refused}};
}

}  // namespace selenite
