// A device that lags behind its host: what the watchdog says of it, what its work took, what a checkpoint copies of it.
#define BOOST_TEST_MODULE device_shim
#include <array>
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <thread>

#include "core/text.hpp"
#include "exec/choose_executor.hpp"
#include "kernels/cast/cast.hpp"
#include "kernels/gemm/gemm.hpp"
#include "run/checkpoints.hpp"
#include "run/watchdog.hpp"
#include "tests/contains.hpp"
#include "tests/shim/borrowed_comm.hpp"
#include "tests/shim/devices.hpp"
#include "tests/shim/nccl.hpp"
#include "tests/shim/streams.hpp"
#include "tests/train/support.hpp"

using namespace selenite;
using namespace selenite::test;

namespace {

void pause(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }
template <class Done>
bool wait_until(double seconds, Done done) {
  for (double const end = Ctx::now() + seconds; Ctx::now() < end; pause(0.005))
    if (done()) return true;
  return false;
}
constexpr auto timed = Watchdog::Pace::timed;

/// What watchdogs say, each once.
struct Said {
  std::mutex mutex;
  std::vector<std::string> texts;
  void add(std::string const& text) {
    std::lock_guard const lock(mutex);
    texts.push_back(text);
  }
  std::size_t count() {
    std::lock_guard const lock(mutex);
    return texts.size();
  }
};

}  // namespace

// --- the watchdog

BOOST_AUTO_TEST_CASE(of_a_device_that_lags_its_own_action_is_named) {
  CudaLanes lanes(0);
  auto const comm = make_self_comm();
  Said said;
  Watchdog dog(0.5, *comm, ProcessGrid(),
               {.expired = [&](std::string const& text) { said.add(text); }, .failed = {}, .alarm = {}});
  dog.follow(lanes);
  dog.announce("step 1 F0", timed);
  shim::hold(lanes.stream(Lane::compute));  // it stays in F0, while the host goes on
  dog.announce("step 1 B0", timed);
  dog.announce("step 1 O", timed);
  BOOST_TEST_REQUIRE(wait_until(20, [&] { return said.count() == 1; }));
  BOOST_TEST(contains(said.texts[0], "Rank 0 has not moved for "), said.texts[0]);
  BOOST_TEST(contains(said.texts[0], "its last action was step 1 F0 ("), said.texts[0]);
  shim::release(lanes.stream(Lane::compute));
}

BOOST_AUTO_TEST_CASE(a_device_that_gets_on_has_moved) {
  CudaLanes lanes(0);
  auto const comm = make_self_comm();
  Said said;
  Watchdog dog(2, *comm, ProcessGrid(),
               {.expired = [&](std::string const& text) { said.add(text); }, .failed = {}, .alarm = {}});
  dog.follow(lanes);
  shim::hold(lanes.stream(Lane::compute), 0);
  for (int i = 0; i < 3; ++i) dog.announce(concat("step 1 F", i), timed);
  pause(0.7);
  BOOST_TEST(said.count() == 0u);
  double const released = Ctx::now();
  shim::release(lanes.stream(Lane::compute));  // it gets to F2
  BOOST_TEST_REQUIRE(wait_until(30, [&] { return said.count() == 1; }));
  BOOST_TEST(Ctx::now() - released > 1.9);  // counted from there, not from what the host did
  BOOST_TEST(contains(said.texts[0], "its last action was step 1 F2 ("), said.texts[0]);
}

BOOST_AUTO_TEST_CASE(milestones_are_counted_round_the_ring) {
  CudaLanes lanes(0);
  for (std::uint64_t i = 1; i <= 3000; ++i) BOOST_TEST_REQUIRE(lanes.set_milestone() == i);
  BOOST_TEST(lanes.passed_milestone() == 3000u);
  shim::hold(lanes.stream(Lane::compute), 10);
  for (int i = 0; i < 500; ++i) lanes.set_milestone();
  BOOST_TEST(lanes.passed_milestone() == 3010u);
  shim::release(lanes.stream(Lane::compute));
  BOOST_TEST(lanes.passed_milestone() == 3500u);
}

// --- NCCL

namespace {

/// Two ranks of data parallelism on devices of their own, each with a watchdog.
struct TwoRanks {
  Said expired, failed, thrown;
  /// Returns the exit code of the job, as a program's would be; 0: it ended well.
  int run(double limit, std::function<void(Comm&, CudaLanes&, Watchdog&)> const& body) {
    ProcessGrid const grid({1, 1, 1, 2, 1});
    try {
      run_threads(2, [&](Comm& threads) {
        auto const comm = make_nccl_comm(std::make_unique<BorrowedComm>(threads));
        comm->set_grid(grid);
        CudaLanes lanes(0);
        comm->use(lanes.cuda());
        Watchdog dog(limit, *comm, grid,
                     {.expired = [&](std::string const& text) { expired.add(text), comm->abort(75); },
                      .failed = [&](std::string const& text) { failed.add(text), comm->abort(1); },
                      .alarm = {}});
        dog.follow(lanes);
        body(*comm, lanes, dog);
      });
      return 0;
    } catch (Aborted const& abort) {
      return abort.code;
    } catch (Error const& e) {
      thrown.add(e.what());
      return 1;
    }
  }
};

/// From now on communicators of so many ranks have failed, while this is there.
struct PlantedFailure {
  explicit PlantedFailure(int ranks) { shim::plant_failure(ranks); }
  ~PlantedFailure() { shim::plant_failure(0); }
  PlantedFailure(PlantedFailure const&) = delete;
  PlantedFailure& operator=(PlantedFailure const&) = delete;
};

AllReduce sum(float* value) { return {.data = Tensor::of(value, {1}), .group = {Axis::data}}; }

}  // namespace

BOOST_AUTO_TEST_CASE(the_call_that_a_device_is_in_is_known) {
  TwoRanks two;
  BOOST_TEST(two.run(60, [](Comm& comm, CudaLanes& lanes, Watchdog&) {
    float value = 1;
    std::uint64_t const before = comm.in_flight().ended;
    BOOST_TEST(!comm.in_flight().call);
    shim::hold(lanes.cuda().stream, 1);  // it begins, and does not end
    comm.launch(sum(&value));
    auto const flight = comm.in_flight();
    BOOST_TEST_REQUIRE(flight.call.has_value());
    BOOST_TEST(to_string(*flight.call) == "all-reduce over data");
    BOOST_TEST(flight.ended == before);
    shim::release(lanes.cuda().stream);
    BOOST_TEST(!comm.in_flight().call);
    BOOST_TEST(comm.in_flight().ended == before + 1);
    shim::hold(lanes.cuda().stream);  // it is queued behind something else
    comm.launch(sum(&value));
    BOOST_TEST(!comm.in_flight().call);
    shim::release(lanes.cuda().stream);
    comm.barrier();
  }) == 0);
}

BOOST_AUTO_TEST_CASE(a_peer_that_never_arrives_ends_the_job_with_75) {
  TwoRanks two;
  double const start = Ctx::now();
  int const code = two.run(1, [&](Comm& comm, CudaLanes&, Watchdog& dog) {
    float value = 1;
    if (*comm.rank() == 0) {
      dog.announce("step 1 G", timed);
      return comm.launch(sum(&value));
    }
    dog.announce("step 1 F0", timed);
    static_cast<void>(wait_until(30, [&] { return two.expired.count() > 0; }));
  });
  BOOST_TEST(code == 75);
  BOOST_TEST(Ctx::now() - start < 20);
  BOOST_TEST_REQUIRE(two.expired.count() == 1u);
  std::string const& text = two.expired.texts[0];
  BOOST_TEST(text.starts_with("Rank 1 (data 1) has not moved for "), text);
  BOOST_TEST(contains(text, "its last action was step 1 F0 (the process is alive, and waits for no other rank)"), text);
  BOOST_TEST(contains(text, "Rank 0 waits in step 1 G: all-reduce over data."), text);
}

BOOST_AUTO_TEST_CASE(a_failure_behind_the_calls_is_told_with_action_group_and_rank) {
  TwoRanks two;
  std::atomic<Comm*> waiting = nullptr;
  std::optional<PlantedFailure> failure;
  double const start = Ctx::now();
  int const code = two.run(1000, [&](Comm& comm, CudaLanes&, Watchdog& dog) {
    float value = 1;
    dog.announce(concat("step 3 ", *comm.rank() == 0 ? "G" : "F0"), timed);
    comm.barrier();
    if (*comm.rank() == 1) {
      static_cast<void>(wait_until(30, [&] { return waiting && waiting.load()->calls().current(); }));
      std::this_thread::sleep_for(std::chrono::milliseconds(200));  // it has been accepted
      failure.emplace(2);
      static_cast<void>(wait_until(30, [&] { return two.failed.count() > 0; }));
      return comm.barrier();
    }
    waiting = &comm;
    comm.launch(sum(&value));
  });
  BOOST_TEST(code == 1);
  BOOST_TEST(Ctx::now() - start < 20);
  BOOST_TEST_REQUIRE(two.failed.count() >= 1u);
  for (std::string const& text : two.failed.texts) {
    bool const first = text.starts_with("Rank 0 (data 0), in step 3 G: ");
    BOOST_TEST((first || text.starts_with("Rank 1 (data 1), in step 3 F0: ")), text);
    BOOST_TEST(contains(text, "NCCL failed in the group over data (remote process exited"), text);
  }
  // a rank whose own call fails, because the other has given up, can be the first to end the job
  for (std::string const& text : two.thrown.texts)
    BOOST_TEST(contains(text, "NCCL failed in the group over data (remote process exited"), text);
  BOOST_TEST(two.expired.count() == 0u);
}

// --- which device

BOOST_AUTO_TEST_CASE(each_rank_of_a_machine_takes_a_device_of_its_own) {
  using Ids = std::vector<std::vector<std::string>>;
  using Taken = std::vector<std::optional<int>>;
  BOOST_TEST((spread_over_devices(Ids{{"a", "b"}, {"a", "b"}}) == Taken{0, 1}));
  BOOST_TEST((spread_over_devices(Ids{{"b"}, {"a"}}) == Taken{0, 0}));  // srun --gpus-per-task=1
  BOOST_TEST((spread_over_devices(Ids{{"b", "a"}, {"b", "a"}, {"a", "c"}}) == Taken{0, 1, 1}));
  BOOST_TEST((spread_over_devices(Ids{{"a"}, {"a"}}) == Taken{0, std::nullopt}));
}

BOOST_AUTO_TEST_CASE(ranks_spread_over_what_a_machine_has) {
  shim::Devices const devices(3);
  Config config;
  config.run.backend = BackendKind::cuda;
  std::array<int, 4> threads{}, processes{};
  auto const ordinals = [&](std::int64_t world, CommKind kind, std::array<int, 4>& found) {
    config.run.comm = kind;
    run_threads(world, [&](Comm& comm) {
      comm.set_grid(ProcessGrid({1, 1, 1, world, 1}));
      Executor executor = choose_executor(config.run, comm);
      int const device = executor.cuda->cuda().device.ordinal;
      found[static_cast<std::size_t>(*comm.rank())] = device;
      if (kind == CommKind::threads) comm.use(executor.cuda->cuda());
    });
  };
  ordinals(4, CommKind::threads, threads);
  BOOST_TEST((threads == std::array<int, 4>{0, 1, 2, 0}));
  // reductions read what the others have
  for (int reader = 0; reader < 3; ++reader)
    for (int other = 0; other < 3; ++other) BOOST_TEST(shim::open_peers.contains({reader, other}) == (reader != other));
  ordinals(3, CommKind::nccl, processes);
  BOOST_TEST((processes == std::array<int, 4>{0, 1, 2, 0}));
  std::string refused;
  try {
    ordinals(4, CommKind::nccl, processes);
  } catch (Error const& e) {
    refused = e.what();
  }
  BOOST_TEST(contains(refused, "number 4 of the 4 on this machine and sees 3 devices"), refused);
}

BOOST_AUTO_TEST_CASE(devices_that_a_program_has_code_for) {
  BOOST_TEST(has_code_for("90", 9, 0));
  BOOST_TEST(has_code_for("90", 10, 0));  // by PTX
  BOOST_TEST(!has_code_for("90", 8, 0));
  BOOST_TEST(!has_code_for("90-real", 10, 0));
  BOOST_TEST(has_code_for("80,90-real", 8, 6));
  BOOST_TEST(has_code_for("80,90-real", 12, 0));
  BOOST_TEST(!has_code_for("86-real", 8, 0));
  BOOST_TEST(has_code_for("70-virtual", 9, 0));
  BOOST_TEST(!has_code_for("90a", 10, 0));
  BOOST_TEST(has_code_for("90a", 9, 0));
  BOOST_TEST(has_code_for("100-real", 10, 3));
  BOOST_TEST(!has_code_for("", 9, 0));
  BOOST_TEST(has_code_for("all-major", 9, 0));
  BOOST_TEST(has_code_for("OFF", 9, 0));
}

BOOST_AUTO_TEST_CASE(memory_is_registered_with_every_communicator_and_taken_back_in_order) {
  shim::take_nccl_memory();
  run_threads(4, [](Comm& threads) {
    auto const comm = make_nccl_comm(std::make_unique<BorrowedComm>(threads));
    comm->set_grid(ProcessGrid({1, 1, 1, 2, 2}));
    CudaLanes lanes(0);
    comm->use(lanes.cuda());
    {
      Memory const memory = comm->allocate_memory(1 << 20);
      BOOST_TEST((*memory.base() == std::byte{0}));
      LentMemory const lent(*comm, memory);
      comm->barrier();
      comm->set_grid(ProcessGrid({1, 1, 1, 4, 1}));  // new communicators know it, too
    }
    comm->barrier();
  });
  auto const seen = shim::take_nccl_memory();
  BOOST_TEST(seen.misuse == "");
  BOOST_TEST(seen.taken == 4u << 20);
  // a rank's communicators: groups over data, pipe and both, and two links a channel; then one group
  BOOST_TEST(seen.registered == 4u * (3 + 6 + 1) << 20);
}

BOOST_AUTO_TEST_CASE(nccl_takes_more_the_more_communicators_there_are) {
  BOOST_TEST(nccl_memory(ProcessGrid(), Rank(0)) == 0);
  std::int64_t const data = nccl_memory(ProcessGrid({1, 1, 1, 8, 1}), Rank(0)),
                     both = nccl_memory(ProcessGrid({1, 1, 1, 8, 4}), Rank(0));
  BOOST_TEST(data > 0);
  BOOST_TEST(both > data);
  ProcessGrid const grid({1, 1, 1, 2, 1});
  Config const config = resolve(
      parse_config("", {"run.backend=cuda", "layout.data=2", "train.micro_batch=1", "train.global_batch=2"}, "test"),
      2);
  Footprint const planned = StageState(config, grid, Rank(0)).footprint();
  BOOST_TEST(planned.nccl == nccl_memory(grid, Rank(0)));
  BOOST_TEST(planned.total() == planned.allocation() + planned.nccl);
  BOOST_TEST(planned.rows().back().first == "nccl");
}

BOOST_AUTO_TEST_CASE(memory_that_goes_while_registered_is_found) {
  shim::take_nccl_memory();
  run_threads(2, [](Comm& threads) {
    auto const comm = make_nccl_comm(std::make_unique<BorrowedComm>(threads));
    comm->set_grid(ProcessGrid({1, 1, 1, 2, 1}));
    CudaLanes lanes(0);
    comm->use(lanes.cuda());
    Memory memory = comm->allocate_memory(1 << 20);
    comm->lend_memory(memory.base(), memory.bytes());
    memory = Memory();
    comm->barrier();
  });
  BOOST_TEST(contains(shim::take_nccl_memory().misuse, "memory goes with 1048576 bytes registered"));
}

// --- time by cause

namespace {

/// A Gemm of some milliseconds on the host, and a Fill.
struct Work {
  std::vector<float> a = std::vector<float>(192 * 192, 1), b = a, out = a;
  Gemm gemm() {
    return {.a = Tensor::of(a.data(), {192, 192}),
            .b = Tensor::of(b.data(), {192, 192}),
            .out = Tensor::of(out.data(), {192, 192})};
  }
  Fill fill() { return {.x = Tensor::of(out.data(), {192, 192}), .value = 1}; }
};
double of(CauseSeconds const& seconds, Cause cause) { return seconds[static_cast<std::size_t>(cause)]; }

struct OnDevice {
  OnDevice() : memory(1 << 26, Memory::Kind::cuda), scratch("scratch", memory.base(), 1 << 26, Device::cuda) {}
  Memory memory;
  Arena scratch;
  CudaLanes lanes{0};
  Ctx ctx{{.grid = ProcessGrid(), .scratch = &scratch, .workspace_budget = 1 << 20}, lanes, nullptr};
  Work work;
};

}  // namespace

BOOST_AUTO_TEST_CASE(work_on_a_device_is_timed_by_cause_where_the_cause_changes) {
  OnDevice d;
  double const start = Ctx::now();
  d.ctx.start_timing();
  for (int i = 0; i < 3; ++i) d.ctx(d.work.gemm());
  double const gemms = Ctx::now() - start;
  d.ctx(d.work.fill());
  pause(0.02);  // until the next cause begins
  d.ctx.set_optimizer_phase(true);
  d.ctx(d.work.fill());
  d.ctx.set_optimizer_phase(false);
  d.ctx.stop_timing();
  double const all = Ctx::now() - start;
  d.ctx(d.work.gemm());  // not timed
  auto const seconds = d.ctx.take_times();
  BOOST_TEST_REQUIRE(seconds.has_value());
  BOOST_TEST(of(*seconds, Cause::gemm) > 0.5 * gemms);
  BOOST_TEST(of(*seconds, Cause::gemm) <= gemms * 1.01);
  BOOST_TEST(of(*seconds, Cause::memory_bound) >= 0.019);
  BOOST_TEST(of(*seconds, Cause::optimizer) > 0);
  BOOST_TEST(of(*seconds, Cause::communication) == 0);
  double sum = 0;
  for (double const s : *seconds) sum += s;
  BOOST_TEST(sum <= all);
  BOOST_TEST(sum > 0.7 * all);
  BOOST_TEST(!d.ctx.take_times());
}

BOOST_AUTO_TEST_CASE(times_are_read_when_the_device_is_done_and_nothing_waits) {
  OnDevice d;
  auto const stream = d.lanes.stream(Lane::compute);
  shim::hold(stream);
  for (int stretch = 0; stretch < 2; ++stretch) {
    d.ctx.start_timing();
    d.ctx(d.work.fill());
    d.ctx.stop_timing();
    BOOST_TEST(!d.ctx.take_times());
  }
  shim::release(stream);
  BOOST_TEST(d.ctx.take_times().has_value());
  BOOST_TEST(d.ctx.take_times().has_value());
  BOOST_TEST(!d.ctx.take_times());
}

BOOST_AUTO_TEST_CASE(a_timeline_of_a_device_has_every_operation_inside_its_action) {
  OnDevice d;
  Timeline timeline;
  d.ctx.set_timeline(&timeline);
  double const before = Ctx::now();
  d.ctx.start_timing();
  d.ctx.open_span("F0.0", "action");
  d.ctx(d.work.gemm());
  d.ctx.on(Lane::comm, [&] { d.ctx(d.work.fill()); });
  d.ctx.close_span();
  d.ctx.open_span("B0.0", "action");
  d.ctx(d.work.gemm());
  d.ctx.close_span();
  d.ctx.stop_timing();
  d.ctx.set_timeline(nullptr);
  double const after = Ctx::now();
  BOOST_TEST(d.ctx.take_times().has_value());
  std::vector<std::string> seen;
  TimelineSpan action;
  constexpr double resolution = 1e-4;  // milliseconds since the start are floats
  for (TimelineSpan const& span : timeline.spans()) {
    seen.push_back(concat(name(span.lane), " ", span.name, " ", span.category));
    BOOST_TEST(span.start <= span.end);
    BOOST_TEST(span.start >= before - resolution);
    BOOST_TEST(span.end <= after + resolution);
    if (span.category == "action") action = span;
    if (span.name == "gemm")
      BOOST_TEST((action.start <= span.start && span.end <= action.end + resolution && span.cost.m == 192));
  }
  std::vector<std::string> const expected{"compute F0.0 action", "compute gemm gemm", "compute B0.0 action",
                                          "compute gemm gemm", "comm stream memory_bound"};
  BOOST_TEST(seen == expected, boost::test_tools::per_element());
}

// --- checkpoints

namespace {

std::vector<float> weights_in(std::filesystem::path const& checkpoint, StageState& like) {
  IoThread io;
  CheckpointReader reader(io, checkpoint);
  restore(like, reader, true);
  return on_host(like.exact_weights());
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_checkpoint_is_copied_while_training_goes_on_up_to_the_optimizer) {
  for (std::string const precision : {"fp32", "bf16"}) {
    Config const config = config_of({"model.layers=2", "model.hidden=32", "model.heads=2", "model.vocab_size=64",
                                     "model.sequence_length=16", "train.micro_batch=2", "train.global_batch=4",
                                     "train.steps=4", "run.backend=cuda", "train.precision=" + precision});
    std::string pattern = (std::filesystem::temp_directory_path() / "selenite-device-XXXXXX").string();
    BOOST_TEST_REQUIRE(mkdtemp(pattern.data()) != nullptr);
    std::filesystem::path const folder = pattern;
    auto const comm = make_self_comm();
    OneRank rank(config);
    rank.step(1, toy_loader(config, 1));
    std::vector<float> const at_the_save = on_host(rank.stage().exact_weights());
    {
      Checkpoints checkpoints(config, *comm, rank.stage(), folder);
      void const* save = nullptr;
      rank.ctx().on(Lane::save, [&] { save = rank.ctx().stream(); });
      shim::hold(save);
      Progress at = Progress::initial(config.train);
      at.step = 1, at.consumed = 4;
      checkpoints.start(rank.ctx(), at);
      BOOST_TEST(!checkpoints.poll());
      std::atomic<int> actions{0};
      std::atomic<bool> over{false};
      int const all = static_cast<int>(rank.stage().schedule().rows[0].size());
      int actions_then = 0;
      bool over_then = true;
      std::jthread const disk([&] {
        // all passes are given; the optimizer waits
        static_cast<void>(wait_until(30, [&] { return actions == all; }));
        pause(0.3);
        actions_then = actions, over_then = over;
        shim::release(save);
      });
      train_step(rank.ctx(), rank.stage(), at, toy_loader(config, 2), [&](Action) { ++actions; });
      over = true;
      checkpoints.poll(true);
      BOOST_TEST(actions_then == all);  // the last is the optimizer step
      BOOST_TEST(!over_then);
    }
    BOOST_TEST((on_host(rank.stage().exact_weights()) != at_the_save));
    OneRank other(config);
    BOOST_TEST(weights_in(folder / checkpoint_name(1), other.stage()) == at_the_save, boost::test_tools::per_element());
    std::filesystem::remove_all(folder);
  }
}
