// What the NCCL backend asks of NCCL, by a stand-in: collectives, messages, whole trainings of ranks that are threads.
#define BOOST_TEST_MODULE nccl_shim
#include <atomic>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cuda_runtime.h>
#include <map>
#include <thread>

#include "core/cuda.hpp"
#include "core/text.hpp"
#include "tests/comm/checks.hpp"
#include "tests/contains.hpp"
#include "tests/fuzz/compare.hpp"
#include "tests/shim/borrowed_comm.hpp"
#include "tests/shim/replay.hpp"

using namespace selenite;
using namespace selenite::test;
using namespace selenite::shim;

namespace {

std::unique_ptr<Comm> nccl(Comm& comm) { return make_nccl_comm(std::make_unique<BorrowedComm>(comm)); }

/// Ranks whose tensors "lie on the device".
void run_nccl(std::int64_t world, std::function<void(Comm&)> const& body) {
  run_threads(world, [&](Comm& threads) {
    Cuda cuda;
    cuda.stream = static_cast<cudaStream_t>(new_handle());
    auto const comm = nccl(threads);
    comm->use(cuda);
    body(*comm);
  });
}

template <class Body>
std::string error_of(Body body) {
  try {
    body();
  } catch (Error const& e) {
    return e.what();
  }
  return "no error";
}

/// By communicator and member.
using ByMember = std::map<int, std::map<int, std::vector<NcclCall>>>;
ByMember by_member(std::vector<NcclLog> const& logs) {
  ByMember calls;
  for (NcclLog const& log : logs)
    for (NcclCall const& call : log.calls) calls[call.comm][call.index].push_back(call);
  return calls;
}

/// What a call counts as sent: from its arguments alone.
std::int64_t sent_by(NcclCall const& call) {
  std::int64_t const n = call.ranks, bytes = static_cast<std::int64_t>(call.count) * shim::size_of(call.type);
  std::map<ncclDataType_t, DType> const dtypes{
      {ncclFloat32, DType::fp32}, {ncclFloat64, DType::fp64}, {ncclBfloat16, DType::bf16}, {ncclFloat16, DType::fp16}};
  switch (call.kind) {
    case NcclCall::Kind::all_reduce:
      return sent_bytes(
          AllReduce{.data = Tensor(nullptr, dtypes.at(call.type), {static_cast<std::int64_t>(call.count)})}, n,
          call.index);
    case NcclCall::Kind::reduce_scatter:
    case NcclCall::Kind::all_gather:
      return bytes * (n - 1);
    case NcclCall::Kind::broadcast:
      return call.index == call.peer ? bytes : 0;
    case NcclCall::Kind::send:
      return bytes;
    case NcclCall::Kind::recv:
      return 0;
  }
  return 0;
}

/// The calls that try a new communicator out: three collectives, or a message.
std::size_t trial_calls(std::vector<NcclCall> const& calls) { return calls.front().is_message() ? 1 : 3; }

void check_record(std::vector<NcclLog> const& logs, std::int64_t bytes_sent) {
  BOOST_TEST(find_deadlock(logs) == "");
  std::int64_t sum = 0;
  for (auto const& [comm, members] : by_member(logs)) {
    auto const& first = members.begin()->second;
    BOOST_TEST(static_cast<int>(members.size()) == first.front().ranks);
    bool const link = first.front().is_message();
    for (auto const& [index, calls] : members) {
      BOOST_TEST(calls.size() == first.size());
      for (std::size_t i = 0; i < calls.size() && i < first.size(); ++i) {
        if (link) BOOST_TEST((calls[i].kind == (index == 0 ? NcclCall::Kind::send : NcclCall::Kind::recv)));
        if (!calls[i].is_message())
          BOOST_CHECK_MESSAGE(calls[i].matches(first[i]),
                              to_string(calls[i]) << " where the first member makes " << to_string(first[i]));
        if (i >= trial_calls(calls)) sum += sent_by(calls[i]);
      }
    }
  }
  BOOST_TEST(sum == bytes_sent);
}

std::vector<Check> nccl_checks() {
  std::vector<Check> all = checks();
  // messages in another order than sent, finished before their receivers are there, or without a grid
  std::erase_if(all, [](Check const& c) {
    return contains(c.name, "found_by_peer_channel_and_tag") || contains(c.name, "messages_of_one_tag") ||
           contains(c.name, "calls_in_flight");
  });
  return all;
}

}  // namespace

BOOST_DATA_TEST_CASE(the_table_of_checks, boost::unit_test::data::make({2, 3, 4}) * nccl_checks(), world, check) {
  std::int64_t sent = 0;
  std::mutex mutex;
  take_nccl_logs();
  BOOST_TEST(error_of([&] {
               run_nccl(world, [&](Comm& comm) {
                 check.run(comm);
                 std::lock_guard const lock(mutex);
                 sent += comm.bytes_sent();
               });
             }) == "no error");
  check_record(take_nccl_logs(), sent);
}

/// Everybody sends before anybody receives, on all channels.
void send_and_receive(Comm& comm, std::int64_t stages) {
  std::int64_t const me = *comm.rank();
  std::map<Channel, std::pair<std::int64_t, std::int64_t>> peers{
      {Channel::forward, {(me + 1) % stages, (me + stages - 1) % stages}},
      {Channel::backward, {(me + stages - 1) % stages, (me + 1) % stages}}};
  if (me == 0 || me == stages - 1) peers[Channel::tied] = {stages - 1 - me, stages - 1 - me};
  auto const value = [](std::int64_t from, Channel channel, int message) {
    return static_cast<float>(from * 100 + static_cast<int>(channel) * 10 + message);
  };
  for (int round = 0; round < 2; ++round) {
    std::map<Channel, std::array<float, 5>> out;
    for (auto const& [channel, to_and_from] : peers)
      for (int i = 0; i < 5; ++i) {
        float& sent = out[channel][static_cast<std::size_t>(i)] = value(me, channel, i);
        comm.launch(Send{.data = Tensor::of(&sent, {1}), .to = Rank(to_and_from.first), .channel = channel, .tag = i});
      }
    for (auto const& [channel, to_and_from] : peers) {
      for (int i = 0; i < 5; ++i) {
        float got = 0;
        comm.launch(
            Recv{.data = Tensor::of(&got, {1}), .from = Rank(to_and_from.second), .channel = channel, .tag = i});
        validate(got == value(to_and_from.second, channel, i), "message ", i, ": ", got);
      }
      comm.finish(channel, Tensor::of(out[channel].data(), {1}));
      comm.finish(channel);
    }
  }
}

BOOST_DATA_TEST_CASE(messages_go_round_a_pipeline, boost::unit_test::data::make({2, 3, 4, 5}), stages) {
  take_nccl_logs();
  BOOST_TEST(error_of([&] {
               run_nccl(stages, [&](Comm& comm) {
                 comm.set_grid(ProcessGrid({1, 1, 1, 1, stages}));
                 send_and_receive(comm, stages);
               });
             }) == "no error");
  BOOST_TEST(find_deadlock(take_nccl_logs()) == "");
}

BOOST_AUTO_TEST_CASE(one_rank_needs_no_communicator) {
  take_nccl_logs();
  run_nccl(1, [](Comm& comm) { comm.set_grid(ProcessGrid()); });
  BOOST_TEST(take_nccl_logs().size() == 0u);
}

BOOST_AUTO_TEST_CASE(groups_and_messages_that_no_training_has_are_refused) {
  run_nccl(4, [](Comm& comm) {
    float value = 0;
    Tensor const data = Tensor::of(&value, {1});
    comm.set_grid(ProcessGrid({2, 1, 1, 1, 2}));
    BOOST_TEST(contains(error_of([&] { comm.launch(Broadcast{.data = data, .group = {Axis::data}}); }),
                        "no NCCL communicator over data"));
    BOOST_TEST(contains(error_of([&] { comm.launch(Send{.data = data, .to = Rank(*comm.rank() ^ 1)}); }),
                        "no NCCL communicator to rank"));
    std::int32_t whole = 0;
    BOOST_TEST(
        contains(error_of([&] { comm.launch(AllReduce{.data = Tensor::of(&whole, {1}), .group = {Axis::tensor}}); }),
                 "can't be reduced"));
  });
}

// --- mistakes that the stand-in must find

BOOST_AUTO_TEST_CASE(another_order_and_another_count_are_found) {
  float values[8] = {};
  AxisSet const data{Axis::data};
  auto const wrong = [&](std::function<void(Comm&, bool)> const& body) {
    return error_of([&] {
      run_nccl(2, [&](Comm& comm) {
        comm.set_grid(ProcessGrid({1, 1, 1, 2, 1}));
        body(comm, *comm.rank() == 0);
      });
    });
  };
  std::string const order = wrong([&](Comm& comm, bool first) {
    AllReduce const reduce{.data = Tensor::of(values, {4}), .group = data};
    Broadcast const broadcast{.data = Tensor::of(values, {4}), .group = data};
    if (first) comm.launch(reduce), comm.launch(broadcast);
    if (!first) comm.launch(broadcast), comm.launch(reduce);
  });
  BOOST_CHECK_MESSAGE(contains(order, "members of one communicator differ"), order);
  std::string const count = wrong([&](Comm& comm, bool first) {
    comm.launch(AllReduce{.data = Tensor::of(values, {first ? 4 : 5}), .group = data});
  });
  BOOST_CHECK_MESSAGE(contains(count, "all-reduce of 5 fp32") && contains(count, "all-reduce of 4 fp32"), count);
  Patience const patience(0.3);
  std::string const missing = wrong([&](Comm& comm, bool first) {
    if (first) comm.launch(AllReduce{.data = Tensor::of(values, {4}), .group = data});
    std::this_thread::sleep_for(std::chrono::seconds(1));  // leaving says more than being late
  });
  BOOST_CHECK_MESSAGE(contains(missing, "rank 0 waits in all-reduce of 4 fp32 for rank 1"), missing);
}

BOOST_AUTO_TEST_CASE(a_message_of_another_size_is_found) {
  float values[8] = {};
  std::string const error = error_of([&] {
    run_nccl(2, [&](Comm& comm) {
      comm.set_grid(ProcessGrid({1, 1, 1, 1, 2}));
      if (*comm.rank() == 0) comm.launch(Send{.data = Tensor::of(values, {4}), .to = Rank(1)});
      if (*comm.rank() == 1) comm.launch(Recv{.data = Tensor::of(values, {3}), .from = Rank(0)});
    });
  });
  BOOST_CHECK_MESSAGE(contains(error, "send of 16 bytes to 1 meets a recv of 12 bytes from 0"), error);
}

/// Two ranks send each other something, and then receive.
std::string exchange(bool two_streams, bool two_communicators) {
  ncclUniqueId ids[2];
  for (ncclUniqueId& id : ids) ncclGetUniqueId(&id);
  take_nccl_logs();
  auto const rank = [&](int me) {
    ncclComm_t comms[2];
    cudaStream_t streams[2];
    for (int i = 0; i < 2; ++i) {
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      ncclCommInitRankConfig(&comms[i], 2, ids[i], me, &config);
      cudaStreamCreateWithFlags(&streams[i], cudaStreamNonBlocking);
    }
    float value = 0;
    ncclSend(&value, 1, ncclFloat32, 1 - me, comms[two_communicators ? me : 0], streams[0]);
    ncclRecv(&value, 1, ncclFloat32, 1 - me, comms[two_communicators ? 1 - me : 0], streams[two_streams ? 1 : 0]);
    for (ncclComm_t const comm : comms) ncclCommDestroy(comm);
  };
  std::thread first(rank, 0), second(rank, 1);  // a thread's record ends with it
  first.join(), second.join();
  return find_deadlock(take_nccl_logs());
}

BOOST_AUTO_TEST_CASE(an_exchange_that_waits_for_ever_on_a_device_is_found) {
  BOOST_TEST(contains(exchange(false, false), "stays in send"));
  BOOST_TEST(contains(exchange(true, false), "stays in send"));  // one communicator: one after the other
  BOOST_TEST(contains(exchange(false, true), "stays in send"));  // one stream, too
  BOOST_TEST(exchange(true, true) == "");
}

BOOST_AUTO_TEST_CASE(a_rank_that_gives_up_waits_no_more) {
  std::string waited, later;
  static_cast<void>(error_of([&] {
    run_nccl(2, [&](Comm& comm) {
      comm.set_grid(ProcessGrid({1, 1, 1, 1, 2}));
      if (*comm.rank() == 0) return comm.barrier();
      std::jthread const other([&] {
        while (!comm.calls().current()) std::this_thread::yield();
        comm.give_up();
      });
      float value = 0;
      waited = error_of([&] { comm.launch(Recv{.data = Tensor::of(&value, {1}), .from = Rank(0)}); });
      later = error_of([&] { comm.finish(Channel::forward); });
    });
  }));
  BOOST_CHECK_MESSAGE(contains(waited, "has aborted") || contains(waited, "stopped"), waited);
  BOOST_CHECK_MESSAGE(contains(later, "stopped"), later);
}

/// As on one machine, where the end of a communicator waits for its members.
BOOST_DATA_TEST_CASE(communicators_end_in_one_order, boost::unit_test::data::make({2, 3, 4, 5}), stages) {
  Patience const patience(5);
  take_nccl_memory();
  run_nccl(2 * stages, [&](Comm& comm) {
    comm.set_grid(ProcessGrid({1, 1, 1, 2, stages}));
    comm.set_grid(ProcessGrid({2, 1, 1, 1, stages}));
  });
  BOOST_TEST(take_nccl_memory().misuse == "");
}

/// As where one waits for a kernel that stands behind another one's.
BOOST_AUTO_TEST_CASE(who_gives_up_aborts_all_communicators_at_once) {
  constexpr int of_a_rank = 9;  // groups over tensor, pipe and both, and two links a channel
  Patience const patience(60);
  std::atomic<bool> over{false};
  double seconds = 0;
  static_cast<void>(error_of([&] {
    run_nccl(4, [&](Comm& comm) {
      comm.set_grid(ProcessGrid({2, 1, 1, 1, 2}));
      comm.barrier();
      while (*comm.rank() > 0 && !over) std::this_thread::yield();
      if (*comm.rank() > 0) return comm.barrier();
      plant_aborts_that_wait(of_a_rank);
      auto const start = std::chrono::steady_clock::now();
      comm.give_up();
      seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      plant_aborts_that_wait(0);
      over = true;
    });
  }));
  BOOST_TEST(seconds < 1.9);
}

// --- whole trainings

void train(Draw const& d, Settings const& settings) {
  constexpr std::int64_t steps = 3;  // a ramp of the batch has come to its end
  Settings on_devices = settings;
  on_devices.push_back("run.backend=cuda");
  Trained const one = train_as_threads(config_of(d, false, settings), {.until = steps});
  take_nccl_logs();
  Trained const all = train_as_threads(config_of(d, true, on_devices), {.until = steps}, nccl);
  for (std::string const& problem : all.wrong) BOOST_ERROR(problem);
  for (std::size_t i = 0; i < steps; ++i) {
    BOOST_TEST(all.losses[i] == one.losses[i], boost::test_tools::tolerance(2e-5));
    BOOST_TEST(all.norms[i] == one.norms[i], boost::test_tools::tolerance(2e-5));
  }
  Difference const apart = difference_by_layer(one.weights, all.weights);
  BOOST_CHECK_MESSAGE(apart.relative < 2e-5, apart.where << " differs by " << apart.relative);
  check_record(take_nccl_logs(), all.bytes_sent);
}

BOOST_AUTO_TEST_CASE(every_layout_trains_as_one_rank) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    Draw const d = draw(seed, 6);
    BOOST_TEST_CONTEXT(d.text()) { train(d, {"train.precision=fp32"}); }
  }
}

/// Products by the stand-in for cuBLASLt, which takes 8-bit operands as sm_90 does, against the emulation on the cores.
void train_in_8_bits(std::string const& activation, Settings const& of_devices, int stages = 1) {
  Draw const d = parse_draw(
      "model.layers=2 model.hidden=64 model.heads=4 model.ffn_hidden=96 model.activation=" + activation +
      " model.vocab_size=61 "
      "model.sequence_length=32 train.global_batch=4 train.steps=10 train.lr=1e-3 | layout.tensor=2 layout.data=2 "
      "layout.sequence_parallel=true train.micro_batch=1 train.optimizer_sharding=1 layout.pipe=" +
      std::to_string(stages));
  Settings const fp8{"train.precision=fp8", "train.fp8_history=2"};
  Settings on_devices = fp8;
  on_devices.push_back("run.backend=cuda");
  on_devices.insert(on_devices.end(), of_devices.begin(), of_devices.end());
  Trained const one = train_as_threads(config_of(d, false, fp8), {.until = 3});
  take_nccl_logs();
  Trained const all = train_as_threads(config_of(d, true, on_devices), {.until = 3}, nccl);
  for (std::string const& problem : all.wrong) BOOST_ERROR(problem);
  for (std::size_t i = 0; i < 3; ++i) {
    BOOST_TEST(all.losses[i] == one.losses[i], boost::test_tools::tolerance(2e-3));
    BOOST_TEST(all.norms[i] == one.norms[i], boost::test_tools::tolerance(3e-2));
  }
  BOOST_TEST(all.amaxes.size() == 16u);
  for (auto const& [name, history] : one.amaxes)
    for (std::size_t i = 0; i < history.size(); ++i)
      BOOST_TEST(all.amaxes.at(name)[i] == history[i], boost::test_tools::tolerance(0.1f));
  check_record(take_nccl_logs(), all.bytes_sent);
}

BOOST_AUTO_TEST_CASE(in_8_bits_a_layout_trains_as_one_rank_on_the_cores) { train_in_8_bits("swiglu", {}); }

/// Their scales are agreed on by the ranks of a stage.
BOOST_AUTO_TEST_CASE(in_8_bits_a_pipeline_of_tensor_and_data_ranks_trains_as_one_rank_on_the_cores) {
  train_in_8_bits("swiglu", {}, 2);
}

/// Products that make GELU, too: the cores, which round its input first, are as far off as without.
BOOST_AUTO_TEST_CASE(in_8_bits_a_layout_with_fused_epilogues_trains_as_one_rank_on_the_cores) {
  for (std::string const epilogues : {"none", "gelu", "all"})
    for (std::string const recompute : {"none", "selective", "full"})
      BOOST_TEST_CONTEXT(epilogues << ", recompute " << recompute) {
        train_in_8_bits("gelu", {"run.fused_epilogues=" + epilogues, "train.recompute=" + recompute});
      }
}

/// Products that make GELU and biases' gradients, too.
BOOST_AUTO_TEST_CASE(layouts_with_fused_epilogues_train_as_one_rank) {
  for (std::uint64_t seed = 21; seed <= 28; ++seed) {
    Draw d = draw(seed, 6);
    d.layout.push_back("run.fused_epilogues=all");
    if (seed % 2 == 0) d.training.push_back("model.ffn_hidden=96");  // whole packs of 8 a rank: the library takes them
    Settings const settings{"train.precision=fp32", "model.activation=gelu",
                            seed % 4 == 0 ? "model.bias=false" : "model.bias=true"};
    BOOST_TEST_CONTEXT(d.text()) { train(d, settings); }
  }
}

/// The other path of attention, which has no context ranks.
BOOST_AUTO_TEST_CASE(layouts_with_matrix_attention_train_as_one_rank) {
  int trained = 0;
  for (std::uint64_t seed = 1; trained < 12; ++seed) {
    Draw const d = draw(seed, 6);
    Settings const settings{"train.precision=fp32", "model.attention=matrix"};
    std::string const refused = error_of([&] { config_of(d, true, settings); });
    if (refused != "no error") {
      BOOST_TEST_MESSAGE(d.text() << " is refused: " << refused);
      continue;
    }
    BOOST_TEST_CONTEXT(d.text()) { train(d, settings); }
    ++trained;
  }
}
